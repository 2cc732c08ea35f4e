package schema

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Task is how a task ended, as the data of an event tells it. ID and State are
// always there; every other field is its zero value if APIXO does not tell.
type Task struct {
	// ID is APIXO's taskId: 1 to 128 letters, digits and _ . : - , the same in
	// every delivery of one result, and so the key for idempotency.
	ID string
	// State is StateSuccess or StateFailed.
	State State

	// ResultURLs are the addresses of what was made. They expire: APIXO's pages
	// name 24 hours. Empty on failure, and where the result holds no addresses
	// (music results may hold richer objects instead: see ResultJSON).
	ResultURLs []string
	// ResultJSON is the JSON object that resultJson held, whether as a string or
	// as an object; nil if there was none.
	ResultJSON json.RawMessage
	// CostTime is the processing time, to the millisecond; 0 if not told. Whole
	// numbers that a Duration cannot hold become the nearest that it can.
	CostTime time.Duration

	// FailCode says for programs why it failed: a Fail constant or, for the list
	// is open, any other text. Empty if not told.
	FailCode string
	// FailMsg says it for people. It is text from outside, of any length that a
	// webhook can have. Empty if not told.
	FailMsg string

	// CreateTime and CompleteTime are in UTC, to the millisecond; zero if not
	// told, or outside the years 1 to 9999, which RFC 3339 cannot write.
	CreateTime, CompleteTime time.Time
}

// maxTaskID is how long a task's id may be.
const maxTaskID = 128

func isTaskID(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '_', c == '.', c == ':', c == '-':
		default:
			return false
		}
	}
	return s != "" && len(s) <= maxTaskID
}

// taskReader gathers a task from the members of the webhook's data object.
type taskReader struct {
	task       Task
	resultJSON member         // its value is nil if there is none
	ownURLs    member         // resultUrls beside it, likewise
	urls       jsontext.Value // those of either, without what is null; nil if there are none

	data       jsontext.Value // the object itself
	at         int            // its offset in the text, from which members have theirs
	normalized memberSet      // what is published otherwise than it came
	replaced   []member       // those whose value that is
}

// DecodeTask reads the data of a task's event: a JSON object as it stands in
// APIXO's webhook, with resultUrls added. It takes whatever [ParseWebhook] takes
// there. It returns an [Error] if it is none.
func DecodeTask(data []byte) (Task, error) {
	var r taskReader
	if _, _, err := parse(data, r.read); err != nil {
		return Task{}, err
	}
	return r.task, nil
}

// UnmarshalJSON implements json.Unmarshaler by [DecodeTask], so that the data of an event
// from another library is read into a Task: event.DataAs(&task) with the CloudEvents SDK
// for Go. The task aliases none of it. On an error, which is that of DecodeTask, the task
// is left as it was; null is an error too, since no event of a task is without one.
//
// It reads what events carry, which is not what encoding/json writes of a Task: who keeps
// tasks as JSON keeps the event's data.
func (t *Task) UnmarshalJSON(data []byte) error {
	task, err := DecodeTask(data)
	if err != nil {
		return err
	}
	task.ResultJSON = bytes.Clone(task.ResultJSON)
	*t = task
	return nil
}

// read reads a data object.
func (r *taskReader) read(d *decoder) error {
	*r = taskReader{}
	if d.PeekKind() != jsontext.KindBeginObject {
		return notResult(CodeMemberType, "data is %s, an object was expected", kindName(d.value().value))
	}
	r.at = int(d.InputOffset())
	r.at += bytes.IndexByte(d.text[r.at:], '{') // behind a colon and white space
	var id, state []byte
	for name := range d.members() {
		var err error
		switch string(name) {
		case "taskId":
			id, err = required("taskId", d.value().value)
		case "state":
			state, err = required("state", d.value().value)
		case "resultJson":
			r.resultJSON = d.value()
		case "resultUrls":
			r.ownURLs = d.value()
		case "failCode":
			r.task.FailCode = r.text(memberFailCode, d.value())
		case "failMsg":
			r.task.FailMsg = r.text(memberFailMsg, d.value())
		case "costTime":
			ms, _ := r.number(memberCostTime, d.value(), readNumber)
			r.task.CostTime = time.Duration(min(max(ms, minMillis), maxMillis)) * time.Millisecond
		case "createTime":
			r.task.CreateTime = instant(r.number(memberCreateTime, d.value(), readTime))
		case "completeTime":
			r.task.CompleteTime = instant(r.number(memberCompleteTime, d.value(), readTime))
		}
		if err != nil {
			return err
		}
	}
	r.data = d.text[r.at:d.InputOffset()]
	r.task.ID = string(id)
	switch {
	case id == nil:
		return notResult(CodeMemberMissing, "data.taskId is missing")
	case !isTaskID(r.task.ID):
		return notResult(CodeTaskID, "taskId is %s, 1 to 128 letters, digits and _ . : - were expected", quote(r.task.ID))
	case state == nil:
		return notResult(CodeMemberMissing, "data.state is missing")
	case string(state) == string(StateFailed):
		r.task.State = StateFailed
		r.readLeftovers()
		return nil
	case string(state) == string(StateSuccess):
		r.task.State = StateSuccess
		return r.readResult()
	}
	return notResult(CodeState, `state is %s, "success" or "failed" was expected`, quote(string(state)))
}

// A time.Duration holds 292 years of nanoseconds.
const (
	maxMillis = int64(1<<63-1) / int64(time.Millisecond)
	minMillis = -maxMillis
)

// instant is the time of so many milliseconds since 1970, if RFC 3339 can write it.
func instant(ms int64, told bool) time.Time {
	t := time.UnixMilli(ms).UTC()
	if !told || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// required reads a string that must be one.
func required(name string, v jsontext.Value) ([]byte, error) {
	if v.Kind() != jsontext.KindString {
		return nil, notResult(CodeMemberType, "%s is %s, a string was expected", name, kindName(v))
	}
	return unquoteText(v), nil
}
