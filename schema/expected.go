package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// ErrNotAnnouncement is the kind of an error about JSON that announces no task. Use it with
// errors.Is.
var ErrNotAnnouncement = errors.New("not an announced task")

// ExpectedTask is the value of an announced task in the bucket ([DefaultExpectedBucket]). A
// producer writes Model and, if it wants, Attributes; the relay adds the other fields when
// it asks for the task.
type ExpectedTask struct {
	// Model is that of the task, as [ValidModel] has it: it is a part of the path at which
	// APIXO's status API is asked.
	Model string `json:"model"`
	// Attributes are those that the callback URL would bring to the event. The relay takes
	// those in RELAY_CALLBACK_ATTRIBUTES, traceparent and tracestate.
	Attributes map[string]string `json:"attributes,omitempty"`

	// Announced is when it was; zero before the relay has asked for the task, and then the
	// time of the key's first revision.
	Announced time.Time `json:"announced,omitzero"`
	// Asked is how often the relay has asked for the task.
	Asked int `json:"asked,omitempty"`
	// Next is when it asks again; zero before it has asked.
	Next time.Time `json:"next,omitzero"`
	// Unknown is how often in a row the API knew no such task.
	Unknown int `json:"unknown,omitempty"`
	// LastAnswer is what the API last said of the task, in one line without secrets: a
	// state such as processing, or what went wrong.
	LastAnswer string `json:"lastAnswer,omitempty"`
}

// Reasons of an event of [TypeTaskMissing].
const (
	// ReasonUnknownTask: the API knows no such task of that model.
	ReasonUnknownTask = "unknown-task"
	// ReasonNotFinal: there was no result within RELAY_EXPECT_GIVE_UP.
	ReasonNotFinal = "not-final"
)

// MissingTask is the data of an event of [TypeTaskMissing]: an announced task of which no
// result could be had.
type MissingTask struct {
	ID         string    `json:"taskId"`
	Model      string    `json:"model"`
	Announced  time.Time `json:"announced"`
	Asked      int       `json:"asked"`
	LastAnswer string    `json:"lastAnswer"`
}

// ParseExpectedTask reads the value of an announced task. It returns an [Error] of the kind
// [ErrNotJSON] or [ErrNotAnnouncement]. Members that the relay writes count as missing where
// they are of another type.
func ParseExpectedTask(value []byte) (ExpectedTask, error) {
	_, task, err := parseAnnouncement(value, false)
	return task, err
}

// ParseAnnouncement reads the body of a request that announces a task: its taskId beside the
// members of an [ExpectedTask] that a producer writes. Its error is as that of
// [ParseExpectedTask].
func ParseAnnouncement(body []byte) (taskID string, task ExpectedTask, err error) {
	taskID, task, err = parseAnnouncement(body, true)
	return taskID, ExpectedTask{Model: task.Model, Attributes: task.Attributes}, err
}

func parseAnnouncement(text []byte, withID bool) (id string, task ExpectedTask, err error) {
	_, _, err = parse(text, func(d *decoder) (err error) {
		id, task = "", ExpectedTask{} // parse may call it twice
		var taskID, model member
		if d.PeekKind() != '{' {
			return notAnnouncement(CodeMemberType, "it is %s, an object was expected", kindName(d.value().value))
		}
		for name := range d.members() {
			switch string(name) {
			case "taskId":
				taskID = d.value()
			case "model":
				model = d.value()
			case "attributes":
				task.Attributes, err = attributesOf(d.value())
			case "announced":
				_ = json.Unmarshal(d.value().value, &task.Announced)
			case "asked":
				_ = json.Unmarshal(d.value().value, &task.Asked)
			case "next":
				_ = json.Unmarshal(d.value().value, &task.Next)
			case "unknown":
				_ = json.Unmarshal(d.value().value, &task.Unknown)
			case "lastAnswer":
				_ = json.Unmarshal(d.value().value, &task.LastAnswer)
			}
			if err != nil {
				return err
			}
		}
		if withID {
			if id, err = announcedText("taskId", taskID); err != nil {
				return err
			}
			if err = CheckTaskID(id); err != nil {
				return err
			}
		}
		if task.Model, err = announcedText("model", model); err != nil {
			return err
		}
		return CheckModel(task.Model)
	})
	if err != nil {
		return "", ExpectedTask{}, err
	}
	return id, task, nil
}

// announcedText reads a member that must be a string.
func announcedText(name string, m member) (string, error) {
	switch {
	case m.value == nil:
		return "", notAnnouncement(CodeMemberMissing, "%s is missing", name)
	case m.value.Kind() != '"':
		return "", notAnnouncement(CodeMemberType, "%s is %s, a string was expected", name, kindName(m.value))
	}
	return string(unquoteText(m.value)), nil
}

func attributesOf(m member) (attributes map[string]string, err error) {
	if m.value.Kind() == 'n' {
		return nil, nil
	}
	if json.Unmarshal(m.value, &attributes) != nil {
		return nil, notAnnouncement(CodeMemberType, "attributes is %s, an object of strings was expected", kindName(m.value))
	}
	return attributes, nil
}

func notAnnouncement(code, format string, args ...any) error {
	return &Error{Kind: ErrNotAnnouncement, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// ValidTaskID reports whether a text can be a task's id: 1 to 128 letters, digits and
// _ . : - of ASCII.
func ValidTaskID(s string) bool { return isTaskID(s) }

// ValidModel reports whether a text can be the name of a model, which becomes a part of a
// path: as [ValidTaskID], and neither "." nor "..".
func ValidModel(s string) bool { return isTaskID(s) && s != "." && s != ".." }

// CheckTaskID returns an [Error] of the kind [ErrNotAnnouncement] unless [ValidTaskID].
func CheckTaskID(s string) error {
	if !ValidTaskID(s) {
		return notAnnouncement(CodeTaskID, "%s is no task id: 1 to %d letters, digits and _ . : - are", quote(s), maxTaskID)
	}
	return nil
}

// CheckModel returns an [Error] of the kind [ErrNotAnnouncement] unless [ValidModel].
func CheckModel(s string) error {
	if !ValidModel(s) {
		return notAnnouncement(CodeModel, "%s is no model: 1 to %d letters, digits and _ . : - are", quote(s), maxTaskID)
	}
	return nil
}

// ExpectedKey returns the key of an announced task in the bucket: its id, with =XX in the
// place of each byte that a key does not take there (XX are hexadecimal digits). Those are
// colons, and dots at the ends or beside another.
func ExpectedKey(taskID string) string {
	dot := func(i int) bool { return i < 0 || i >= len(taskID) || taskID[i] == '.' }
	var b strings.Builder
	for i := range len(taskID) {
		if c := taskID[i]; c == ':' || c == '.' && (dot(i-1) || dot(i+1)) {
			fmt.Fprintf(&b, "=%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// TaskIDOfKey returns the task's id of a key that [ExpectedKey] has made. Its error is as
// that of [CheckTaskID].
func TaskIDOfKey(key string) (string, error) {
	id := key
	if strings.Contains(key, "=") {
		var b strings.Builder
		for i := 0; i < len(key); i++ {
			if key[i] != '=' {
				b.WriteByte(key[i])
				continue
			}
			var c byte
			if _, err := fmt.Sscanf(key[i+1:min(i+3, len(key))], "%02X", &c); err != nil || i+2 >= len(key) {
				return "", CheckTaskID(key)
			}
			b.WriteByte(c)
			i += 2
		}
		id = b.String()
	}
	return id, CheckTaskID(id)
}

// Missing reads the data of an event of [TypeTaskMissing]. It returns an error if the event
// is of another type, or its data is not of that form.
func (e Event) Missing() (task MissingTask, err error) {
	if e.Type != TypeTaskMissing {
		return task, fmt.Errorf("the event %q is of type %q, which tells of no missing task", e.ID, e.Type)
	}
	if err := json.Unmarshal(e.Data, &task); err != nil {
		return MissingTask{}, fmt.Errorf("the data of the event %q cannot be read: %w", e.ID, err)
	}
	return task, nil
}

// Equal reports whether two announcements say the same of a task. What the relay has added
// does not count.
func (t ExpectedTask) Equal(other ExpectedTask) bool {
	return t.Model == other.Model && maps.Equal(t.Attributes, other.Attributes)
}
