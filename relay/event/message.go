package event

import "github.com/apixo-relay/apixo-relay/schema"

// Message is what is sent to NATS for one event: plain values, from which a
// sender makes a message of its own for each attempt.
type Message struct {
	// Subject is where it goes.
	Subject string
	// ID is the value of Nats-Msg-Id, by which JetStream knows a repeat.
	ID string
	// Header has no Nats-Msg-Id yet. Senders must not change it: a further attempt needs it.
	Header map[string][]string
	// Data is the payload.
	Data []byte

	// Delivery is what the message was made of, and Task what that told, without
	// the result itself; nil if it is no task's. Neither is sent.
	Delivery Delivery
	Task     *schema.Task
	// Normalized is that of the schema.Webhook; nil if it is no task's.
	Normalized []string
}
