package event

import (
	"strconv"
	"strings"
)

// copyMark begins what CopyID adds. It is in no task id, so that no id of a copy
// can be that of another task.
const copyMark = "~"

// CopyID returns the message id under which a task's event is stored for the nth
// time: the task id itself for 0, and with "~1", "~2"… behind it once the copy
// before was removed from the stream while the broker still remembers its id. The
// id inside the event is always the task's.
func CopyID(taskID string, n int) string {
	if n == 0 {
		return taskID
	}
	return taskID + copyMark + strconv.Itoa(n)
}

// TaskIDOf returns the task id of a message id that [CopyID] has made, and any other
// message id as it is.
func TaskIDOf(messageID string) string {
	taskID, n, _ := strings.Cut(messageID, copyMark)
	if _, err := strconv.ParseUint(n, 10, 32); err != nil {
		return messageID
	}
	return taskID
}
