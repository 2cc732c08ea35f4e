package streamreader

import (
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
)

// deleteTimeout bounds the deletion of a consumer, which the broker does by itself
// soon enough.
const deleteTimeout = 2 * time.Second

// close deletes the consumer, whatever the reading ended with. Where this user may not
// delete it, the broker does after a few seconds.
func (r *reader) close() { deleteConsumer(r.conn, r.s, r.consumer.CachedInfo().Name) }

func deleteConsumer(conn *nats.Conn, s Selection, name string) {
	if !conn.IsConnected() {
		return // and nobody is to wait for that
	}
	subject := jsapi.Prefix(s.Domain) + "CONSUMER.DELETE." + s.Stream + "." + name
	inbox := conn.NewInbox()
	answers, err := conn.SubscribeSync(inbox)
	if err != nil {
		return
	}
	defer func() { _ = answers.Unsubscribe() }()
	if conn.PublishRequest(subject, inbox, nil) != nil || conn.FlushTimeout(deleteTimeout) != nil {
		return
	}
	// To what is not allowed nobody answers: the broker says so before it answers the
	// flush.
	if broker.LastPermissionError(conn, subject) != nil {
		return
	}
	_, _ = answers.NextMsg(deleteTimeout)
}

// deliver hands a message over, and keeps the consumer while that takes long.
func (r *reader) deliver(m Message, each func(Message) error) error {
	r.busy.Store(true)
	r.slow.Reset(r.s.inactiveThreshold / 3)
	defer func() {
		r.busy.Store(false)
		r.slow.Stop()
	}()
	return each(m)
}

// keepAlive asks the broker for a message that is no larger than a byte, which no
// message is: for that the consumer stays, and nothing is delivered. The client itself
// asks for more only once half of what it has was read.
func (r *reader) keepAlive() {
	if !r.busy.Load() {
		return
	}
	subject := jsapi.Prefix(r.s.Domain) + "CONSUMER.MSG.NEXT." + r.s.Stream + "." + r.consumer.CachedInfo().Name
	_ = r.conn.PublishRequest(subject, r.conn.NewInbox(), []byte(`{"batch":1,"max_bytes":1,"no_wait":true}`))
	r.slow.Reset(r.s.inactiveThreshold / 3)
}
