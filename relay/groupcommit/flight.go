package groupcommit

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// Headers of an atomic batch (ADR-50). They stay in the messages that are stored.
const (
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
)

// errNoAck is that of a message to which the broker did not reply in time.
var errNoAck = errors.New("the broker did not acknowledge it within " + ackTimeout.String())

// flight is what the broker answers with one reply: a message, or a batch.
type flight struct {
	token   uint64 // last token of the subject to which it is replied
	members []*Sending
	bytes   int
	sent    time.Time
	waited  bool // it was among the waiting
}

func (f *flight) isBatch() bool { return len(f.members) > 1 }

func (f *flight) has(subject string) bool {
	for _, s := range f.members {
		if s.msg.Subject == subject {
			return true
		}
	}
	return false
}

func failAll(sendings []*Sending, err error) {
	for _, s := range sendings {
		s.done <- outcome{err: err}
	}
}

// sendNext sends what is to be sent now, and reports whether there was anything.
func (c *Committer) sendNext() bool {
	c.mu.Lock()
	conn := c.conn
	if conn == nil {
		left := c.takeAll()
		c.mu.Unlock()
		failAll(left, &NotSentError{nats.ErrDisconnected})
		return false
	}
	if c.inboxOf != conn {
		c.mu.Unlock()
		return c.openInbox(conn)
	}
	f := c.board()
	c.mu.Unlock()
	if f == nil {
		return false
	}
	if err := c.publish(conn, f); err != nil {
		c.notSent(f, err)
	}
	return true
}

// openInbox subscribes to the replies of a connection.
func (c *Committer) openInbox(conn *nats.Conn) bool {
	inbox := conn.NewInbox() + "."
	_, err := conn.Subscribe(inbox+"*", func(m *nats.Msg) { c.reply(m, m.Subject[len(inbox):]) })
	c.mu.Lock()
	if err == nil {
		c.inbox, c.inboxOf = inbox, conn
		c.mu.Unlock()
		return true
	}
	left := c.takeAll()
	c.mu.Unlock()
	failAll(left, &NotSentError{err})
	return false
}

// board decides what travels next, and how: nil if everything that there is has
// to wait. Lock held.
func (c *Committer) board() *flight {
	if len(c.flights) >= maxOut || c.bytes > maxBytesOut {
		return nil
	}
	if c.batchable == 0 {
		c.singly, c.waiting = append(c.singly, c.waiting...), nil
	}
	if len(c.singly) > 0 {
		return c.depart([]*Sending{pop(&c.singly)}, false)
	}
	if c.batchable == 0 || c.batch {
		return nil
	}
	all := c.singles + c.batchable
	pays := c.batches() && c.costs.batchPays(all)
	switch {
	case pays && c.ahead > 0:
		return nil
	case all > 1:
		c.costs.chose(pays)
	}
	if pays {
		return c.depart(c.takeBatch(), true)
	}
	s := pop(&c.waiting)
	if !s.apart {
		c.batchable--
	}
	return c.depart([]*Sending{s}, true)
}

// takeBatch takes as many of the waiting as fit into a batch. What has to travel
// apart follows right behind it. Lock held.
func (c *Committer) takeBatch() (members []*Sending) {
	bytes, taken := 0, 0
	for _, s := range c.waiting {
		if s.apart {
			c.singly = append(c.singly, s)
		} else {
			bytes += len(s.msg.Data)
			if len(members) == maxBatch || len(members) > 0 && bytes > maxBatchBytes {
				break
			}
			members = append(members, s)
		}
		taken++
	}
	clear(c.waiting[:taken])
	c.waiting = c.waiting[taken:]
	c.batchable -= len(members)
	return members
}

// pop takes the first of a queue, which must not hold it any longer: a message
// may be large.
func pop(queue *[]*Sending) *Sending {
	s := (*queue)[0]
	(*queue)[0] = nil
	*queue = (*queue)[1:]
	return s
}

// depart makes a flight of those for which somebody still waits. Lock held.
func (c *Committer) depart(members []*Sending, waited bool) *flight {
	members = slices.DeleteFunc(members, func(s *Sending) bool { return !s.state.CompareAndSwap(waiting, sent) })
	f := &flight{members: members, sent: time.Now(), waited: waited}
	if len(members) == 0 {
		return f // which is over
	}
	for _, s := range members {
		f.bytes += len(s.msg.Data)
	}
	c.lastFlight++
	f.token = c.lastFlight
	c.flights[f.token] = f
	c.bytes += f.bytes
	switch {
	case f.isBatch():
		c.batch = true
	case waited:
		c.ahead++
		fallthrough
	default:
		c.singles++
	}
	return f
}

// land takes a flight off the list of those on their way. Lock held.
func (c *Committer) land(f *flight) {
	delete(c.flights, f.token)
	c.bytes -= f.bytes
	if f.isBatch() {
		c.batch = false
		return
	}
	c.singles--
	if f.waited {
		c.ahead--
	}
}

// publish hands the messages of a flight to the connection, which may take some
// seconds if it is stalled. Each try has messages of its own: what has once been
// in a batch must not keep that batch's headers.
func (c *Committer) publish(conn *nats.Conn, f *flight) error {
	last := len(f.members) - 1
	batchID := ""
	if f.isBatch() {
		batchID = nuid.Next() // of no other relay's batch either
	}
	for i, s := range f.members {
		header := make(nats.Header, len(s.msg.Header)+4)
		for name, values := range s.msg.Header {
			header[name] = values
		}
		header[jetstream.MsgIDHeader] = []string{s.msg.ID}
		if batchID != "" {
			header[headerBatchID] = []string{batchID}
			header[headerBatchSequence] = []string{strconv.Itoa(i + 1)}
		}
		m := &nats.Msg{Subject: s.msg.Subject, Header: header, Data: s.msg.Data}
		if i == last {
			m.Reply = c.inbox + strconv.FormatUint(f.token, 36)
			if batchID != "" {
				header[headerBatchCommit] = []string{"1"}
			}
		}
		if err := conn.PublishMsg(m); err != nil {
			return err
		}
	}
	return nil
}

// notSent ends a flight that the connection did not take: without its last
// message nothing of a batch is stored. Unless that was for one message's sake,
// those behind it are not sent either, or they would pass it.
func (c *Committer) notSent(f *flight, err error) {
	c.mu.Lock()
	if c.flights[f.token] != f {
		c.mu.Unlock()
		return // the connection is lost, and its members know
	}
	c.land(f)
	var failed []*Sending
	switch {
	case !errors.Is(err, nats.ErrMaxPayload):
		failed = append(f.members, c.takeAll()...)
	case f.isBatch():
		c.againAll(f)
	default:
		failed = f.members
	}
	c.mu.Unlock()
	failAll(failed, &NotSentError{err})
}

// takeAll empties the queues. Lock held.
func (c *Committer) takeAll() (all []*Sending) {
	all = append(c.singly, c.waiting...)
	c.singly, c.waiting, c.batchable = nil, nil, 0
	return all
}

// againAll sends all members of a batch again, singly and before all others.
// Lock held.
func (c *Committer) againAll(f *flight) {
	for _, s := range f.members {
		c.again(s)
	}
}

func (c *Committer) again(s *Sending) {
	s.state.Store(waiting)
	c.singly = append(c.singly, s)
}

// giveUp ends the waiting for replies that will not come. What waits to be sent
// does not pass what has failed: its sender may want to send all of it again.
func (c *Committer) giveUp(why error, which func(*flight) bool) {
	c.mu.Lock()
	var failed, notSent []*Sending
	for _, f := range c.flights {
		if which(f) {
			c.land(f)
			failed = append(failed, f.members...)
		}
	}
	if c.conn == nil || len(failed) > 0 {
		notSent = c.takeAll()
	}
	c.mu.Unlock()
	failAll(failed, why)
	failAll(notSent, &NotSentError{why})
}
