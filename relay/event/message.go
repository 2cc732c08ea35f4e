package event

import "github.com/apixo-relay/apixo-relay/schema"

// Kind is what a message tells.
type Kind int

const (
	// TaskEvent tells how a task ended, for the stream of events.
	TaskEvent Kind = iota
	// RejectedDelivery holds a body that is no task's result, for the quarantine.
	RejectedDelivery
	// ConflictingDelivery holds a webhook that tells another outcome of its task than the
	// event that is stored, for the quarantine.
	ConflictingDelivery
	// MissingTask tells that an announced task was given up, for the quarantine.
	MissingTask
	// RejectedAnnouncement holds an announcement that cannot be used, for the quarantine.
	RejectedAnnouncement
	// TaskArchived tells that the files of a task are in an archive, and TaskArchiveFailed
	// that some of them are not, for the stream of the archive.
	TaskArchived
	TaskArchiveFailed
)

// Message is what is sent to NATS for one event: plain values, from which a
// sender makes a message of its own for each attempt.
type Message struct {
	Kind Kind
	// Subject is where it goes.
	Subject string
	// ID is the value of Nats-Msg-Id, by which JetStream knows a repeat: a task's id, the
	// digest of a quarantined body, or the id of an event that tells something else.
	ID string
	// Header has no Nats-Msg-Id yet. Senders must not change it: a further attempt needs it.
	Header map[string][]string
	// Data is the payload.
	Data []byte

	// Delivery is what the message was made of. It is not sent.
	Delivery Delivery
	// Task is what a TaskEvent tells, without the result itself; nil otherwise. It is not
	// sent.
	Task *schema.Task
	// Normalized is that of the schema.Webhook; nil where Task is.
	Normalized []string
	// Rejection is why a RejectedDelivery is no task's event, and a RejectedAnnouncement
	// cannot be used; nil otherwise.
	Rejection *schema.Error
}
