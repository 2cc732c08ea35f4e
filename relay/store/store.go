// Package store is what stands between those who have a message to store and those who
// store it: package receiver knows the publisher and the outbox by [Store] alone.
package store

import (
	"context"
	"fmt"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

// Store stores messages. Implementations may be used by many goroutines.
type Store interface {
	// Store returns once the message is stored, at the latest at the deadline of ctx. A
	// receipt is what a 200 stands for. The error is an *[Error].
	Store(ctx context.Context, msg event.Message) (Receipt, error)
}

// Receipt is a store's word that it has a message, and will have it after a crash.
type Receipt struct {
	// Stream and Sequence say where; for a duplicate, where the first copy is.
	Stream   string
	Sequence uint64
	// Duplicate reports that a message of that id was stored already.
	Duplicate bool
	// Conflict reports that the one stored tells another outcome of the task, and
	// that this delivery is quarantined. It comes with Duplicate.
	Conflict bool
}

// Future is a message on its way to a store.
type Future interface {
	// Wait waits for the receipt, at the latest until the deadline of ctx. The error is an
	// *[Error]. It must be called once.
	Wait(ctx context.Context) (Receipt, error)
}

// Code is why a store gave no receipt: a bounded word for programs.
type Code string

// The codes. The sender is to try again after each of them.
const (
	// BrokerUnavailable: no connection, or no answer in time.
	BrokerUnavailable Code = "broker-unavailable"
	// StreamMissing: nothing in the broker takes the message's subject.
	StreamMissing Code = "stream-missing"
	// StreamFull: the stream, or the broker's disk or account, is at its limit.
	StreamFull Code = "stream-full"
	// OutboxFull: the broker is away, and the outbox is at its limit.
	OutboxFull Code = "outbox-full"
	// TooLarge: the broker, or the stream, takes no message of that size.
	TooLarge Code = "event-too-large"
	// RegisterFull: too many announced tasks are outstanding.
	RegisterFull Code = "register-full"
	// BrokerError: the broker refused for any other cause, a write error among them.
	BrokerError Code = "broker-error"
)

// Error is returned when there is no receipt. The message may still have been stored: its
// id makes the next try a duplicate then.
type Error struct {
	Code Code
	// Err is the cause, for the log. It may name streams and servers.
	Err error
}

// Error returns the code and the cause.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Code, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
