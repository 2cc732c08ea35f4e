package schema

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Event is a CloudEvent (version 1.0) as the relay publishes it. The zero value
// is none.
type Event struct {
	// ID is the task's id, the same whenever the event comes again and so the key
	// for idempotency; for a missing task that id with the time of the announcement
	// behind it; for the files of a task that id, .archived@ or .archive-failed@, and the
	// archive; or, for what keeps a body, its SHA-256 in hexadecimal digits. Never empty.
	ID string
	// Source is where it comes from, https://api.apixo.ai unless configured
	// otherwise. Never empty.
	Source string
	// Type is one of the Type constants, if the relay published it. Never empty.
	Type string
	// Subject is the task's id; the key of a rejected announcement in the bucket; empty
	// for what is rejected otherwise, which tells none. A webhook that was not confirmed
	// tells one.
	Subject string
	// Time is when the task ended, or else when the webhook came, in UTC; for a missing task
	// and for files in an archive when that was known. It is zero if whoever published the
	// event does not tell, which the relay does.
	Time time.Time
	// DataContentType is application/json where [Event.DataIsJSON], and for what keeps a
	// body if that is JSON; application/octet-stream otherwise.
	DataContentType string
	// DataSchema is [TaskSchemaID] for a task, [MissingSchemaID] for a missing task,
	// [ArchiveSchemaID] for the files of a task, and empty otherwise.
	DataSchema string
	// Extensions are the other attributes: those of the callback URL, such as
	// model, normalized and verified on a task, and reason and detail on what is
	// quarantined and on files that are not in an archive. Nil if there are none.
	Extensions map[string]string
	// Data is the payload: for a task JSON, which [Event.Task] reads, for a missing task
	// JSON, which [Event.Missing] reads, for the files of a task JSON, which
	// [Event.Archived] reads, and otherwise the body byte for byte. It may alias the
	// message.
	Data []byte
}

// IsTask reports whether it tells how a task ended; otherwise it keeps a body that
// could not become an event, tells of a missing task or of files in an archive, or is of a
// type that this version does not know.
func (e Event) IsTask() bool { return e.Type == TypeTaskSuccess || e.Type == TypeTaskFailed }

// DataIsJSON reports whether the relay made the data, as the JSON that one of the schemas
// describes. What keeps a body has it byte for byte, even if that is JSON too.
func (e Event) DataIsJSON() bool {
	switch e.Type {
	case TypeTaskSuccess, TypeTaskFailed, TypeTaskMissing, TypeTaskArchived, TypeTaskArchiveFailed:
		return true
	}
	return false
}

// Model is the model that was asked, if the callback URL tells (?model=...);
// empty if it does not.
func (e Event) Model() string { return e.Extensions["model"] }

// Normalized are the members of the webhook that the data does not have as they
// came, as [Webhook] says; nil if there are none.
func (e Event) Normalized() []string {
	if e.Extensions["normalized"] == "" {
		return nil
	}
	return strings.Split(e.Extensions["normalized"], ",")
}

// Verified says whether APIXO's status API has confirmed the webhook: "true", "false" or
// "unknown"; empty without RELAY_VERIFY.
func (e Event) Verified() string { return e.Extensions["verified"] }

// Reason says for programs why something is in the quarantine, or why files of a task are
// not in an archive: one of the Code or Reason constants, or a word that a later version
// adds. Empty for a task, and where nothing is wrong.
func (e Event) Reason() string { return e.Extensions["reason"] }

// Detail says for people what Reason says for programs, in printable ASCII. Empty where
// that is.
func (e Event) Detail() string { return e.Extensions["detail"] }

// Task reads the data of a task's event. It returns an error if the event is of
// another type, and an [Error] if its data is no task.
func (e Event) Task() (Task, error) {
	if !e.IsTask() {
		return Task{}, fmt.Errorf("the event %q is of type %q, which carries no task", e.ID, e.Type)
	}
	return DecodeTask(e.Data)
}

// Header names of the CloudEvents NATS protocol binding (1.0.3-wip, section 3).
const (
	headerPrefix      = "ce-"
	headerContentType = "Content-Type"
	structuredPrefix  = "application/cloudevents"
)

// DecodeMessage reads the headers and the payload of a NATS message in either
// content mode; a nats.Header can be passed as it is. It returns an error if the
// message is no CloudEvent of version 1.0. What the event carries it does not
// look into: [Event.Task] does.
func DecodeMessage(header map[string][]string, payload []byte) (Event, error) {
	if strings.HasPrefix(strings.ToLower(headerValue(header, headerContentType)), structuredPrefix) {
		return decodeStructured(payload)
	}
	return decodeBinary(header, payload)
}

// headerValue finds a header by its name in any case: NATS headers keep the
// case of their names, and the binding calls the names case-insensitive.
func headerValue(header map[string][]string, name string) string {
	for k, values := range header {
		if len(values) > 0 && strings.EqualFold(k, name) {
			return values[0]
		}
	}
	return ""
}

func decodeBinary(header map[string][]string, payload []byte) (Event, error) {
	attributes := make(map[string]string)
	for name, values := range header {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, headerPrefix) || len(values) == 0 {
			continue
		}
		value, err := url.PathUnescape(unquote(values[0]))
		if err != nil || !utf8.ValidString(value) {
			return Event{}, fmt.Errorf("the header %s is not percent-encoded UTF-8: %s", quote(name), quote(values[0]))
		}
		attributes[lower[len(headerPrefix):]] = value
	}
	e, err := fromAttributes(attributes)
	e.Data = payload
	return e, err
}

// unquote undoes the double quotes that producers may put around a value by an
// older version of the binding (section 3.1.3.2 asks readers to know them).
func unquote(value string) string {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return value
	}
	var b strings.Builder
	inner := value[1 : len(value)-1]
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' && i+1 < len(inner) {
			i++
		}
		b.WriteByte(inner[i])
	}
	return b.String()
}

func decodeStructured(payload []byte) (Event, error) {
	text, _, err := parse(payload, func(*decoder) error { return nil })
	if err != nil {
		return Event{}, fmt.Errorf("the CloudEvent is %w", err)
	}
	d := new(decoder).reset(text)
	if d.PeekKind() != jsontext.KindBeginObject {
		return Event{}, fmt.Errorf("the CloudEvent is %s, an object was expected", kindName(text))
	}
	attributes := make(map[string]string)
	var data []byte
	for quoted := range d.members() {
		name, v := string(quoted), d.value().value
		var err error
		switch {
		case name == "data":
			data = v
		case name == "data_base64" && v.Kind() == jsontext.KindString:
			data, err = base64.StdEncoding.DecodeString(string(unquoteText(v)))
		case name == "data_base64" && v.Kind() != jsontext.KindNull:
			err = fmt.Errorf("data_base64 is %s, a string was expected", kindName(v))
		case v.Kind() == jsontext.KindString:
			attributes[name] = string(unquoteText(v))
		case v.Kind() != jsontext.KindNull:
			attributes[name] = string(v)
		}
		if err != nil {
			return Event{}, fmt.Errorf("the CloudEvent cannot be read: %w", err)
		}
	}
	e, err := fromAttributes(attributes)
	e.Data = data
	return e, err
}

// fromAttributes fills an event and keeps in its Extensions what has no field.
func fromAttributes(attributes map[string]string) (Event, error) {
	take := func(name string) string {
		value := attributes[name]
		delete(attributes, name)
		return value
	}
	if version := take("specversion"); version != "1.0" {
		if version == "" {
			return Event{}, errors.New("the message is no CloudEvent: it has no specversion")
		}
		return Event{}, fmt.Errorf("the message is a CloudEvent of version %s, 1.0 was expected", quote(version))
	}
	e := Event{
		ID:              take("id"),
		Source:          take("source"),
		Type:            take("type"),
		Subject:         take("subject"),
		DataContentType: take("datacontenttype"),
		DataSchema:      take("dataschema"),
	}
	if e.ID == "" || e.Source == "" || e.Type == "" {
		return Event{}, errors.New("the CloudEvent lacks one of id, source and type")
	}
	if value := take("time"); value != "" {
		t, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return Event{}, fmt.Errorf("the CloudEvent's time is %s, which is not RFC 3339", quote(value))
		}
		e.Time = t.UTC()
	}
	if len(attributes) > 0 {
		e.Extensions = maps.Clone(attributes)
	}
	return e, nil
}

// JSONFormat is the event as an object of the CloudEvents JSON event format
// (1.0.2), for encoding/json: the data as the JSON that it is where [Event.DataIsJSON],
// and any other as data_base64.
func (e Event) JSONFormat() map[string]any {
	object := map[string]any{"specversion": "1.0", "id": e.ID, "source": e.Source, "type": e.Type}
	for name, value := range e.Extensions {
		object[name] = value
	}
	for name, value := range map[string]string{"subject": e.Subject, "datacontenttype": e.DataContentType, "dataschema": e.DataSchema} {
		if value != "" {
			object[name] = value
		}
	}
	if !e.Time.IsZero() {
		object["time"] = e.Time.Format(time.RFC3339Nano)
	}
	switch {
	case e.DataIsJSON() && json.Valid(e.Data):
		object["data"] = json.RawMessage(e.Data)
	case e.Data != nil:
		object["data_base64"] = e.Data
	}
	return object
}
