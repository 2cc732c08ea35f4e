package event

import (
	"context"
	"fmt"
)

// Receipt is a store's word that it has a message, and will have it after a crash.
type Receipt struct {
	// Stream and Sequence say where; for a duplicate, where the first copy is.
	Stream   string
	Sequence uint64
	// Duplicate reports that a message of that id was stored already.
	Duplicate bool
	// Conflict reports that the one stored tells another outcome of the task, and
	// that this delivery is kept beside it. It comes with Duplicate.
	Conflict bool
}

// Sending is a message on its way to a store.
type Sending interface {
	// Receipt waits for it, at the latest until the deadline of ctx. Its error is a
	// *Refusal. It must be called once.
	Receipt(ctx context.Context) (Receipt, error)
}

// Reason is why a store did not give a receipt: a bounded word for programs.
type Reason string

// The reasons. The sender is to try again after each of them.
const (
	// BrokerUnavailable: no connection, or no answer in time.
	BrokerUnavailable Reason = "broker-unavailable"
	// StreamMissing: nothing in the broker takes the message's subject.
	StreamMissing Reason = "stream-missing"
	// StreamFull: the stream, or the broker's disk or account, is at its limit.
	StreamFull Reason = "stream-full"
	// OutboxFull: the broker is away, and the outbox is at its limit.
	OutboxFull Reason = "outbox-full"
	// TooLarge: the broker, or the stream, takes no message of that size.
	TooLarge Reason = "event-too-large"
	// BrokerError: the broker refused for any other cause, a write error among them.
	BrokerError Reason = "broker-error"
)

// Refusal is the error of a store that gave no receipt. The message may still
// have been stored: its id makes the next try a duplicate then.
type Refusal struct {
	Reason Reason
	// Err is the cause, for the log. It may name streams and servers.
	Err error
}

// Error is the reason and the cause.
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %v", r.Reason, r.Err) }

// Unwrap is the cause.
func (r *Refusal) Unwrap() error { return r.Err }
