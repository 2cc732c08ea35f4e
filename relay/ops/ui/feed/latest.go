package feed

import (
	"context"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/retry"
)

const (
	// maxItems and maxItemBytes bound what is kept of the latest messages.
	maxItems     = 50
	maxItemBytes = 8 << 20
	// shownRate and shownBurst are how many messages are shown in a second, in the long
	// run and at once; each of them for successes and for all others, so that failures
	// do not drown.
	shownRate  = 2
	shownBurst = 10
	// liveBacklog is how many messages wait to be got with their bodies.
	liveBacklog = 64
	// getTimeout bounds how long a message is waited for.
	getTimeout = 3 * time.Second
	// historyTimeout bounds how long the newest messages of a stream are waited for, and
	// historyTries how often: what comes is shown behind them. Each time it is one
	// historyShare of as many, since they may be too large for the connection.
	historyTimeout = 10 * time.Second
	historyTries   = 3
	historyShare   = 4
	// measureInterval is the time between two events of the time before that are measured:
	// an hour's takes a quarter of a minute.
	measureInterval = 10 * time.Millisecond
)

// Item is one of the latest messages.
type Item struct {
	// Serial counts the items in the order in which they came to be shown, from 1 on.
	Serial uint64
	// Quarantined: it is in the quarantine, and not among the events.
	Quarantined bool
	// Message is the message with its body.
	Message streamreader.Message
}

// head is a message that may be shown or measured. Without a body that is to be got.
type head struct {
	stream        *source
	created       time.Time // when the stream was, which may have been made anew since
	message       streamreader.Message
	show, measure bool
}

// latest are the latest messages that are shown.
type latest struct {
	items           []shown
	bytes           int
	last            uint64 // serial
	leftOut         uint64
	success, others *rate.Limiter
}

type shown struct {
	stream string
	Item
}

func (l *latest) init() {
	l.success, l.others = rate.NewLimiter(shownRate, shownBurst), rate.NewLimiter(shownRate, shownBurst)
}

// admitLocked decides whether a message that has just come is shown, and counts those that are
// not.
func (l *latest) admitLocked(k kind, now time.Time) bool {
	limiter := l.others
	if k == kindSuccess {
		limiter = l.success
	}
	if limiter.AllowN(now, 1) {
		return true
	}
	l.leftOut++
	return false
}

func (l *latest) add(stream string, quarantined bool, m streamreader.Message) {
	l.last++
	l.items = append(l.items, shown{stream, Item{Serial: l.last, Quarantined: quarantined, Message: m}})
	l.bytes += len(m.Data)
	for len(l.items) > maxItems || l.bytes > maxItemBytes && len(l.items) > 1 {
		l.bytes -= len(l.items[0].Message.Data)
		l.items = slices.Delete(l.items, 0, 1)
	}
}

// has reports whether a message is shown, or older than all of its stream that are.
func (l *latest) has(stream string, sequence uint64) bool {
	return slices.ContainsFunc(l.items, func(i shown) bool { return i.stream == stream && i.Message.Sequence >= sequence })
}

func (l *latest) after(serial uint64) (items []Item, last, leftOut uint64) {
	for _, i := range l.items {
		if i.Serial > serial {
			items = append(items, i.Item)
		}
	}
	return items, l.last, l.leftOut
}

func (l *latest) remove(is func(shown) bool) {
	l.items = slices.DeleteFunc(l.items, is)
	l.bytes = 0
	for _, i := range l.items {
		l.bytes += len(i.Message.Data)
	}
}

func (l *latest) forgetStream(stream string) {
	l.remove(func(i shown) bool { return i.stream == stream })
}

func (l *latest) forget(stream string, sequences []uint64) {
	l.remove(func(i shown) bool { return i.stream == stream && slices.Contains(sequences, i.Message.Sequence) })
}

// enqueue has a message shown or measured, if there is room.
func (f *Feed) enqueue(h head) {
	if !h.show && !h.measure {
		return
	}
	select {
	case f.live <- h:
	default:
		f.leaveOut(h)
	}
}

func (f *Feed) leaveOut(h head) {
	if h.show {
		f.mu.Lock()
		f.latest.leftOut++
		f.mu.Unlock()
	}
}

// showLatest shows the newest messages that are there, and then what comes.
func (f *Feed) showLatest(ctx context.Context) {
	if f.showHistory(ctx) != nil {
		return
	}
	ticker := time.NewTicker(measureInterval)
	defer ticker.Stop()
	for {
		f.mu.RLock()
		measuring := f.minutes.ready
		f.mu.RUnlock()
		tick := ticker.C
		if !measuring {
			tick = nil
		}
		select {
		case <-ctx.Done():
			return
		case h := <-f.live:
			f.show(ctx, h)
		case <-f.measure:
		case <-tick:
			f.measureOld(ctx)
		}
	}
}

// show gets the body of a message, shows and measures it.
func (f *Feed) show(ctx context.Context, h head) {
	m := h.message
	isEvent := h.stream == f.events
	if isEvent {
		var err error
		if m, err = f.get(ctx, m.Sequence); err != nil || !m.Stored.Equal(h.message.Stored) {
			f.leaveOut(h) // it was deleted, or cannot be got now
			return
		}
	}
	lag, measured := time.Duration(0), false
	if isEvent {
		lag, measured = lagOf(m)
	}
	f.mu.Lock()
	if measured {
		f.minutes.measure(m.Stored, f.o.Now(), lag)
	}
	if h.show && h.created.Equal(h.stream.status.Created) && !f.latest.has(h.stream.name, m.Sequence) {
		f.latest.add(h.stream.name, !isEvent, m)
	}
	f.mu.Unlock()
	f.changes.notify()
}

// measureOld measures one event of the time before.
func (f *Feed) measureOld(ctx context.Context) {
	f.mu.Lock()
	c, ok := f.minutes.nextCandidate()
	f.mu.Unlock()
	if !ok {
		return
	}
	m, err := f.get(ctx, c.sequence)
	if err != nil || !m.Stored.Equal(c.stored) {
		return
	}
	if lag, ok := lagOf(m); ok {
		f.mu.Lock()
		f.minutes.measure(m.Stored, f.o.Now(), lag)
		f.mu.Unlock()
		f.changes.notify()
	}
}

func (f *Feed) get(ctx context.Context, sequence uint64) (streamreader.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	return streamreader.Get(ctx, f.o.Conn, streamreader.Selection{Domain: f.o.Domain, Stream: f.o.Stream}, sequence)
}

// showHistory shows the newest messages of both streams, by when they were stored. Its error is
// that of ctx.
func (f *Feed) showHistory(ctx context.Context) error {
	var messages []shown
	for _, stream := range []string{f.o.Stream, f.o.Quarantine} {
		err := tryFewer(ctx, f.o.Conn.IsConnected, func(size int) error {
			page, err := f.newest(ctx, stream, size)
			for _, m := range page.Messages {
				messages = append(messages, shown{stream, Item{Quarantined: stream == f.o.Quarantine, Message: m}})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	slices.SortStableFunc(messages, func(a, b shown) int { return a.Message.Stored.Compare(b.Message.Stored) })
	f.mu.Lock()
	for _, m := range messages[max(0, len(messages)-maxItems):] {
		f.latest.add(m.stream, m.Quarantined, m.Message)
	}
	f.mu.Unlock()
	f.changes.notify()
	return context.Cause(ctx)
}

// tryFewer reads maxItems messages, and if it cannot, fewer each time. While there is no
// connection it waits for one; what cannot be read over one may stay so, as a stream that does not
// exist, so that this is no error. Its error is that of ctx.
func tryFewer(ctx context.Context, isConnected func() bool, read func(size int) error) error {
	wait := retry.Backoff(firstRetry, lastRetry)
	for size, tries := maxItems, 0; read(size) != nil; {
		if isConnected() {
			size, tries = max(size/historyShare, 1), tries+1
		}
		if tries == historyTries {
			break
		}
		if err := retry.Sleep(ctx, wait.NextBackOff()); err != nil {
			return err
		}
	}
	return nil
}

func (f *Feed) newest(ctx context.Context, stream string, size int) (streamreader.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	return streamreader.ReadPage(ctx, f.o.Conn, streamreader.Selection{Domain: f.o.Domain, Stream: stream}, streamreader.PageOptions{Size: size})
}
