// Package jserr names the error codes of the JetStream API that the client has no names
// for, as nats-server does, and tells which of them pass.
package jserr

import (
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// The codes, and what they mean to somebody who stores or reads messages.
const (
	AccountResourcesExceeded = jetstream.ErrorCode(server.JSAccountResourcesExceededErr) // the account's own limit
	ClusterNoPeers           = jetstream.ErrorCode(server.JSClusterNoPeersErrF)          // too few servers of a cluster are there at the moment
	ClusterNotAvail          = jetstream.ErrorCode(server.JSClusterNotAvailErr)          // no quorum in the meta group
	InsufficientResources    = jetstream.ErrorCode(server.JSInsufficientResourcesErr)    // the server's own limit, by default three quarters of its disk
	MemoryResourcesExceeded  = jetstream.ErrorCode(server.JSMemoryResourcesExceededErr)
	StorageResourcesExceeded = jetstream.ErrorCode(server.JSStorageResourcesExceededErr)
	StreamNotMatch           = jetstream.ErrorCode(server.JSStreamNotMatchErr)          // another stream was expected to take the message
	StreamSubjectOverlap     = jetstream.ErrorCode(server.JSStreamSubjectOverlapErr)    // another stream has the subject
	StreamStoreFailed        = jetstream.ErrorCode(server.JSStreamStoreFailedF)         // full with discard new, or a write error
	ConsumerPullRequiresAck  = jetstream.ErrorCode(server.JSConsumerPullRequiresAckErr) // a consumer of a work queue has to acknowledge
	MaxStreamBytesExceeded   = jetstream.ErrorCode(server.JSStreamMaxStreamBytesExceeded)
)

// IsTransient reports whether the same request may be answered better soon: the broker
// is busy, without a leader, or still replicating the same message id.
func IsTransient(code jetstream.ErrorCode) bool {
	switch server.ErrorIdentifier(code) {
	case server.JSClusterNotAvailErr, server.JSClusterNotLeaderErr, server.JSStreamTooManyRequests,
		server.JSStreamDuplicateMessageConflict, server.JSStreamWrongLastSequenceConstantErr:
		return true
	}
	return false
}
