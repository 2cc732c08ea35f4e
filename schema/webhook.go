package schema

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// Webhook is one delivery from APIXO.
type Webhook struct {
	// Task is what it tells.
	Task Task
	// EventData is the data of its event: the webhook's data object byte for
	// byte, unknown members and the spelling of numbers included, but for what
	// Normalized names, plus resultUrls on success. It does not alias the body.
	EventData []byte
	// Normalized are the members that the event does not have as they came, by
	// their names, each of which is one of [NormalizedMembers]; nil if there are
	// none. Such a member was of another type than APIXO documents, and is of that
	// type in EventData, or null where it could not be told what is meant; or there
	// was a lone surrogate in it, which is U+FFFD now. The name other stands for
	// all members that are not known, and code and message are in no event.
	Normalized []string
}

// ParseWebhook reads a request body. It is strict about JSON (RFC 8259, with
// the member names of each object unique and nesting of at most [MaxDepth]), and
// about taskId, state and the result, by their exact names. The escape of a lone
// surrogate is read as U+FFFD, and any other member that it knows is brought to its
// type, as [Webhook] says; it lets pass whatever members APIXO may add.
//
// The error is an [Error] of kind ErrNotJSON or ErrNotResult.
func ParseWebhook(body []byte) (Webhook, error) {
	var r taskReader
	valid, repaired, err := parse(body, r.readEnvelope)
	if err != nil {
		return Webhook{}, err
	}
	if repaired {
		r.normalized |= repairedMembers(body, valid)
	}
	return Webhook{Task: r.task, EventData: r.eventData(), Normalized: r.normalized.names()}, nil
}

// readEnvelope reads the object that a webhook is.
func (r *taskReader) readEnvelope(d *decoder) error {
	if d.PeekKind() != jsontext.KindBeginObject {
		return notResult(CodeMemberType, "it is %s, an object was expected", kindName(d.value().value))
	}
	var normalized memberSet
	for name := range d.members() {
		switch string(name) {
		case "data":
			if err := r.read(d); err != nil {
				return err
			}
		case "code":
			// The code is no judge of the task: a failed one comes with 200 too.
			if _, _, exact := readNumber(d.value().value); !exact {
				normalized |= memberCode
			}
		case "message":
			if k := d.PeekKind(); k != jsontext.KindString && k != jsontext.KindNull {
				normalized |= memberMessage
			}
		}
	}
	if r.data == nil {
		return notResult(CodeMemberMissing, "data is missing")
	}
	r.normalized |= normalized
	return nil
}

// repairedMembers returns the members of a webhook in which there were lone
// surrogates: those that are otherwise in the valid text than in the body, which is
// of the same length.
func repairedMembers(body []byte, valid jsontext.Value) (found memberSet) {
	rest := bytes.Clone(body)
	compare := func(which memberSet, m member) {
		if came := rest[m.at : m.at+len(m.value)]; !bytes.Equal(came, m.value) {
			found |= which
			copy(came, m.value)
		}
	}
	d := new(decoder).reset(valid)
	for name := range d.members() {
		switch string(name) {
		case "code":
			compare(memberCode, d.value())
		case "message":
			compare(memberMessage, d.value())
		case "data":
			for name := range d.members() {
				compare(memberNamed(string(name)), d.value())
			}
		}
	}
	if !bytes.Equal(rest, valid) { // in names, and in members of the envelope that are not known
		found |= memberOther
	}
	return found
}

// eventData is the data object as it is published, with resultUrls put in before
// its last brace unless it has them already.
func (r *taskReader) eventData() []byte {
	data := r.normalizedData()
	if r.task.State != StateSuccess || r.ownURLs.value != nil {
		return bytes.Clone(data)
	}
	urls := r.urlsOrNone()
	const name = `,"resultUrls":`
	dst := make([]byte, 0, len(data)+len(name)+len(urls))
	dst = append(dst, data[:len(data)-1]...)
	dst = append(dst, name...)
	dst = append(dst, urls...)
	return append(dst, '}')
}
