package broker

import (
	"fmt"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// What the clients of the embedded broker can make it hold in memory has limits, which
// no client meets that reads what it has asked for: [config.Config.MemoryBound] counts
// on them. The server's own defaults are for machines of its own: 64 MiB for each of
// 65,536 connections, and three quarters of the memory for streams.
const (
	// requestQueue is how many requests to JetStream's API may wait, in each of its two
	// queues, as long as a message each: one of each connection. The default of 10,000
	// would be 10 GiB. What is too much is dropped with all that waits, and whoever
	// waits for an answer asks again.
	requestQueue = config.EmbeddedConnections
	// maxSubscriptions are those of one connection. A client has one for answers and
	// one for each consumer that it reads.
	maxSubscriptions = 64
	// maxSubjectTokens bounds a subject that is subscribed to, whose tokens are a level
	// of the server's tree each, of some 400 bytes. A subject of the relay has 10 at
	// the most, one of JetStream's API 9 and those of its last name.
	maxSubjectTokens = 32
	// maxConsumers are those of one stream, in whose place the server's default has
	// 1,000. Each takes some 50 KiB and more while it is read by.
	maxConsumers = 100
)

// noMemoryStreams has JetStream refuse streams in memory, as the server's configuration
// says it: in its options, 0 stands for three quarters of the machine's memory. A client
// that asks for one gets error 10028, insufficient memory resources available.
const noMemoryStreams = "jetstream { max_memory_store: 0 }"

// limitClients bounds what clients can make a server hold in memory.
func limitClients(cfg config.Config, options *server.Options) error {
	if err := options.ProcessConfigString(noMemoryStreams); err != nil {
		return fmt.Errorf("the embedded broker cannot be configured: %w", err)
	}
	options.MaxPending = cfg.EmbeddedPending()
	options.MaxSubs = maxSubscriptions
	options.MaxSubTokens = maxSubjectTokens
	options.JetStreamRequestQueueLimit, options.JetStreamInfoQueueLimit = requestQueue, requestQueue
	// Not MaxRequestBatch, although what a pull asks for is all read into a queue that has
	// no bound: who asks by size, as who reads large events should, asks for a million.
	// The guard sees to that queue.
	options.JetStreamLimits.DefaultMaxConsumers = maxConsumers
	return nil
}
