package event

import (
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/apixo-relay/apixo-relay/schema"
)

// What all events of tasks share. The SDK takes pointers, and writes through none.
var (
	contentTypeJSON = cloudevents.ApplicationJSON
	taskSchema      = types.URI{URL: verbatim(schema.TaskSchemaID)}
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
	ce := cloudevents.Event{
		Context: &cloudevents.EventContextV1{
			ID:              t.ID,
			Source:          types.URIRef{URL: verbatim(e.Source)},
			Type:            schema.EventType(t.State),
			Subject:         &t.ID,
			DataContentType: &contentTypeJSON,
			DataSchema:      &taskSchema,
			Time:            &types.Timestamp{Time: when},
		},
		DataEncoded: w.EventData,
	}
	if len(w.Normalized) > 0 {
		ce.SetExtension("normalized", strings.Join(w.Normalized, ","))
	}
	// While the message is being stored nothing holds the result besides it.
	t.ResultURLs, t.ResultJSON, t.FailMsg = nil, nil, ""
	msg := Message{Kind: TaskEvent, Subject: schema.TaskSubject(e.Prefix, t.State), ID: t.ID, Delivery: d, Task: &t, Normalized: w.Normalized}
	return e.encode(&ce, msg)
}
