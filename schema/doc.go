// Package schema is the contract between APIXO, the relay and whoever consumes
// its events: what APIXO sends, what the relay publishes, and the names of
// types, subjects and streams.
//
// A consumer in Go needs nothing else. [DecodeMessage] turns a NATS message of
// either content mode into an [Event], and [Event.Task] into a [Task]:
//
//	event, err := schema.DecodeMessage(msg.Headers(), msg.Data())
//	...
//	task, err := event.Task()
//	...
//	fmt.Println(task.ID, task.ResultURLs)
//
// What APIXO documents is of the type that it documents, whatever it sent: [Webhook]
// says how that is done, and [Event.Normalized] where it was.
//
// Who already has a CloudEvent from another library passes its data to
// [DecodeTask], or has that library unmarshal it into a [Task]: event.DataAs(&task) with
// the CloudEvents SDK, as examples/go/cloudevents does. An event can come more than once: DELIVERY.md in this folder says
// when, and what to do about it. The same contract for programs, as JSON Schemas
// and an AsyncAPI document, is in [Documents].
//
// A producer announces what it has submitted with an [ExpectedTask] under its
// [ExpectedKey], as examples/go/producer does; [Event.Missing] reads what is told of one
// without a result. [Event.Archived] reads where the files of a result are, as
// examples/go/archived does: their addresses expire.
//
// All functions here are pure, from bytes to values. The package must not know
// HTTP, NATS, the environment or clocks.
package schema
