// Package jscode names error codes of the JetStream API that the client has no names
// for (nats-server, errors.json).
package jscode

import "github.com/nats-io/nats.go/jetstream"

// The codes, and what they mean to somebody who stores or reads messages.
const (
	AccountExceeded        jetstream.ErrorCode = 10002 // the account's own limit
	NoPeers                jetstream.ErrorCode = 10005 // too few servers of a cluster are there at the moment
	ClusterNotAvailable    jetstream.ErrorCode = 10008 // no quorum in the meta group
	ClusterNotLeader       jetstream.ErrorCode = 10009
	InsufficientResources  jetstream.ErrorCode = 10023 // the server's own limit, by default three quarters of its disk
	MemoryExceeded         jetstream.ErrorCode = 10028
	StorageExceeded        jetstream.ErrorCode = 10047
	MessageTooLarge        jetstream.ErrorCode = 10054
	StreamNotMatch         jetstream.ErrorCode = 10060 // another stream was expected to take the message
	SubjectOverlap         jetstream.ErrorCode = 10065 // another stream has the subject
	StoreFailed            jetstream.ErrorCode = 10077 // full with discard new, or a write error
	WorkQueueNeedsAcks     jetstream.ErrorCode = 10084 // a consumer of a work queue has to acknowledge
	MaxStreamBytesExceeded jetstream.ErrorCode = 10122
	DuplicateInFlight      jetstream.ErrorCode = 10158 // the same id is being replicated
	WrongLastSequence      jetstream.ErrorCode = 10164 // the same, under an older check
	TooManyRequests        jetstream.ErrorCode = 10167
)

// IsTransient reports whether the same request may be answered better soon: the broker
// is busy, or without a leader.
func IsTransient(code jetstream.ErrorCode) bool {
	switch code {
	case ClusterNotAvailable, ClusterNotLeader, DuplicateInFlight, WrongLastSequence, TooManyRequests:
		return true
	}
	return false
}
