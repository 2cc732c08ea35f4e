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

// PubFuture is a message on its way to a store.
type PubFuture interface {
	// Wait waits for it, at the latest until the deadline of ctx. Its error is a
	// *Refusal. It must be called once.
	Wait(ctx context.Context) (Receipt, error)
}

// StoreErrorCode is why a store did not give a receipt: a bounded word for programs.
type StoreErrorCode string

// The reasons. The sender is to try again after each of them.
const (
	// BrokerUnavailable: no connection, or no answer in time.
	BrokerUnavailable StoreErrorCode = "broker-unavailable"
	// StreamMissing: nothing in the broker takes the message's subject.
	StreamMissing StoreErrorCode = "stream-missing"
	// StreamFull: the stream, or the broker's disk or account, is at its limit.
	StreamFull StoreErrorCode = "stream-full"
	// OutboxFull: the broker is away, and the outbox is at its limit.
	OutboxFull StoreErrorCode = "outbox-full"
	// TooLarge: the broker, or the stream, takes no message of that size.
	TooLarge StoreErrorCode = "event-too-large"
	// BrokerError: the broker refused for any other cause, a write error among them.
	BrokerError StoreErrorCode = "broker-error"
)

// StoreError is the error of a store that gave no receipt. The message may still
// have been stored: its id makes the next try a duplicate then.
type StoreError struct {
	Code StoreErrorCode
	// Err is the cause, for the log. It may name streams and servers.
	Err error
}

// Error is the reason and the cause.
func (r *StoreError) Error() string { return fmt.Sprintf("%s: %v", r.Code, r.Err) }

// Unwrap is the cause.
func (r *StoreError) Unwrap() error { return r.Err }
