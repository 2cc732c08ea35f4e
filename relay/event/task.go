package event

import (
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/apixo-relay/apixo-relay/schema"
)

// task makes the message of a task's event. Its time is when the webhook came
// if the webhook does not tell when the task ended.
//
// The message's id is the task's: JetStream stores it once in its duplicate window.
func (e Encoder) task(d Delivery, w schema.Webhook) (Message, error) {
	t := w.Task
	when := t.CompleteTime
	if when.IsZero() {
		when = d.Received
	}
	var room [24]attribute // enough for all that a relay can be set to
	list := append(room[:0],
		attribute{"specversion", "1.0"},
		attribute{"id", t.ID},
		attribute{"source", e.Source},
		attribute{"type", schema.EventType(t.State)},
		attribute{"subject", t.ID},
		attribute{"datacontenttype", "application/json"},
		attribute{"dataschema", schema.TaskSchemaID},
		attribute{"time", types.FormatTime(when)},
	)
	known := len(list)
	for name, value := range d.Attributes {
		list = append(list, attribute{name, value})
	}
	if len(w.Normalized) > 0 {
		list = append(list, attribute{"normalized", strings.Join(w.Normalized, ",")})
	}
	extensions := list[known:]
	sortByName(extensions)
	if err := e.check(extensions); err != nil {
		return Message{}, fmt.Errorf("the event of the task %s would be no valid CloudEvent: %w", t.ID, err)
	}

	// While the message is being stored nothing holds the result besides it.
	t.ResultURLs, t.ResultJSON, t.FailMsg = nil, nil, ""
	msg := Message{Subject: schema.TaskSubject(e.Prefix, t.State), ID: t.ID, Delivery: d, Task: &t, Normalized: w.Normalized}
	if e.Mode == Binary {
		msg.Header, msg.Data = headers(list), w.EventData
		addTraceContext(msg.Header, d)
		return msg, nil
	}
	var err error
	msg.Header = structuredHeaders(d)
	msg.Data, err = appendStructured(nil, list, dataJSON, w.EventData)
	return msg, err
}
