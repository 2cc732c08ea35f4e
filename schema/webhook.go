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
	// byte, unknown members and the spelling of numbers included, plus
	// resultUrls on success. It does not alias the body.
	EventData []byte
}

// ParseWebhook reads a request body. It is strict about JSON (RFC 8259, with
// the member names of each object unique and nesting of at most [MaxDepth])
// and about the members that it knows, by their exact names; it lets pass
// whatever members APIXO may add.
//
// The error is an [Error] of kind ErrNotJSON or ErrNotResult.
func ParseWebhook(body []byte) (Webhook, error) {
	if err := checkSyntax(body); err != nil {
		return Webhook{}, err
	}
	envelope := jsontext.Value(trimSpace(body))
	if envelope.Kind() != jsontext.KindBeginObject {
		return Webhook{}, notResult(CodeMemberType, "it is %s, an object was expected", kindName(envelope))
	}
	var data jsontext.Value
	for name, v := range members(envelope) {
		var err error
		switch string(name) {
		case "data":
			data = v
		case "code":
			// The code is no judge of the task: a failed one comes with 200 too.
			var code int64
			err = integer("code", v, &code)
		case "message":
			err = textOrNull("message", v)
		}
		if err != nil {
			return Webhook{}, err
		}
	}
	if data == nil {
		return Webhook{}, notResult(CodeMemberMissing, "data is missing")
	}
	r, err := readTask(data)
	if err != nil {
		return Webhook{}, err
	}
	return Webhook{Task: r.task, EventData: r.eventData(data)}, nil
}

// eventData is the data object with resultUrls put in before its last brace,
// unless it has them already.
func (r *taskReader) eventData(data jsontext.Value) []byte {
	if r.task.State != StateSuccess || r.ownURLs != nil {
		return bytes.Clone(data)
	}
	urls := r.decodedURLs
	if urls == nil {
		urls = jsontext.Value("[]")
	}
	const member = `,"resultUrls":`
	dst := make([]byte, 0, len(data)+len(member)+len(urls))
	dst = append(dst, data[:len(data)-1]...)
	dst = append(dst, member...)
	dst = append(dst, urls...)
	return append(dst, '}')
}
