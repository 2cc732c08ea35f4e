package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/retry"
)

const (
	// lookInterval is how often the broker is asked how a stream is, and lookTimeout how long
	// an answer is waited for.
	lookInterval = 5 * time.Second
	lookTimeout  = 3 * time.Second
)

var errAway = errors.New("the connection to the broker is lost; it is tried again until the broker is back")

// source is a stream that is followed from its end on, and read backwards from there.
type source struct {
	f         *Feed
	name      string
	following stream
	again     chan struct{} // has a place for the word to look at the stream now
	session   *session      // nil while there is no stream; only run touches it
	// asked: the broker has told of the stream before, if only that there is none.
	asked bool

	// The feed's lock guards what follows.
	status StreamStatus
	// followed is the last sequence that is known from following; 0 before.
	followed uint64
	// advanced is closed when followed changes; nil where nobody waits.
	advanced    chan struct{}
	hourCounted bool
	deleted     int // how many messages were missing between the first and the last one
	// unseen and unread are why the broker does not tell about the stream, and why it
	// cannot be read.
	unseen, unread string
}

// stream is what is particular of a stream. Its methods with "Locked" are called with the feed's
// lock held.
type stream interface {
	// beginLocked forgets what is known: from next on everything comes by follow.
	beginLocked(next uint64)
	// follow reads what comes from a sequence on, until ctx ends or it cannot.
	follow(ctx context.Context, from uint64) error
	// fill reads all that is below a sequence, newest first, as far as it is to be known.
	// It begins anew below the sequence that it returns with an error.
	fill(ctx context.Context, below uint64) (uint64, error)
	// trimLocked forgets what is below the first sequence of the stream.
	trimLocked(first uint64)
	// forgetLocked forgets messages that were deleted.
	forgetLocked(sequences []uint64)
	// knownLocked is from which sequence on all messages are known, and how many.
	knownLocked() (from uint64, n int)
}

// run looks after a stream until ctx ends.
func (s *source) run(ctx context.Context) {
	states := s.f.o.Conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING)
	defer s.f.o.Conn.RemoveStatusListener(states)
	defer s.end()
	ticker := time.NewTicker(s.f.lookInterval)
	defer ticker.Stop()
	soon := retry.Backoff(firstRetry, s.f.lookInterval)
	for {
		var tryAgain <-chan time.Time
		if s.look(ctx) == nil {
			soon.Reset()
		} else {
			tryAgain = time.After(soon.NextBackOff())
		}
		select {
		case <-ctx.Done():
			return
		case <-tryAgain:
		case <-s.again:
		case <-ticker.C:
		case _, ok := <-states:
			if !ok {
				states = nil
			}
		}
	}
}

// look asks the broker how the stream is, and begins anew if it is another one.
func (s *source) look(ctx context.Context) error {
	s.f.mu.RLock()
	followed := s.followed
	s.f.mu.RUnlock()
	stream, err := s.ask(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		s.end()
		s.missing(err)
		s.asked = true
		return err
	case err != nil:
		s.failed(&s.unseen, err)
		return err
	}
	info := stream.CachedInfo()
	if s.session != nil && (!s.session.created.Equal(info.Created) || info.State.LastSeq < followed) {
		s.end()
	}
	if s.session == nil {
		next := info.State.LastSeq + 1
		if s.asked {
			// It was made since then, so that what is in it has just come. One that never
			// had a message begins at 0.
			next = max(info.State.FirstSeq, next-min(next, maxItems), 1)
		}
		s.session = &session{created: info.Created}
		s.update(ctx, stream, next)
		s.begin(ctx, next)
	} else {
		s.update(ctx, stream, 0)
	}
	s.asked = true
	s.f.changes.notify()
	return nil
}

func (s *source) ask(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if !s.f.o.Conn.IsConnected() {
		return nil, errAway
	}
	js, err := jsapi.New(s.f.o.Conn, s.f.o.Domain)
	if err != nil {
		return nil, fmt.Errorf("JetStream cannot be used: %w", err)
	}
	stream, err := js.Stream(ctx, s.name)
	if err != nil {
		return nil, streamreader.Explain(streamreader.Selection{Domain: s.f.o.Domain, Stream: s.name}, err)
	}
	return stream, nil
}

// update takes over what the broker says of the stream, and begins to follow it from a sequence
// on, unless that is 0.
func (s *source) update(ctx context.Context, stream jetstream.Stream, next uint64) {
	info := stream.CachedInfo()
	state := info.State
	var deleted []uint64
	s.f.mu.RLock()
	changed := next == 0 && state.NumDeleted != s.deleted
	s.f.mu.RUnlock()
	if changed {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		if details, err := stream.Info(ctx, jetstream.WithDeletedDetails(true)); err == nil {
			deleted = details.State.Deleted
		} else {
			state.NumDeleted = s.deleted // the next time
		}
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if next > 0 {
		s.following.beginLocked(next)
		s.hourCounted, s.unread = false, ""
		s.advanceLocked(next - 1)
		if s.asked {
			s.f.latest.forgetStream(s.name)
		}
		s.status = StreamStatus{Name: s.name, Filling: true}
	}
	st := &s.status
	st.Known, st.Exists, s.unseen = true, true, ""
	st.First, st.Last, st.Messages, st.Bytes = state.FirstSeq, max(state.LastSeq, s.followed), state.Msgs, state.Bytes
	st.Created, st.Oldest, st.MaxAge = info.Created, state.FirstTime, info.Config.MaxAge
	if state.Msgs == 0 {
		st.Oldest = time.Time{}
	}
	s.deleted = state.NumDeleted
	s.following.trimLocked(state.FirstSeq)
	if len(deleted) > 0 {
		s.following.forgetLocked(deleted)
	}
}

// missing: the broker has no such stream.
func (s *source) missing(err error) {
	s.f.mu.Lock()
	was := s.status.Exists
	s.following.beginLocked(1)
	s.f.latest.forgetStream(s.name)
	s.followed, s.hourCounted, s.unseen, s.unread = 0, true, "", ""
	s.status = StreamStatus{Name: s.name, Known: true}
	if s == s.f.events {
		s.unseen = err.Error()
	}
	s.f.mu.Unlock()
	if was {
		s.f.o.Log.Warn("a stream is gone", "stream", s.name)
	}
	s.f.changes.notify()
}

// failed notes that the broker does not tell about the stream (&s.unseen), or that it cannot be
// read now (&s.unread).
func (s *source) failed(which *string, err error) {
	problem := err.Error()
	if !s.f.o.Conn.IsConnected() {
		problem = errAway.Error()
	}
	s.f.mu.Lock()
	was := *which
	*which = problem
	s.f.mu.Unlock()
	if was == "" {
		s.f.o.Log.Warn("a stream cannot be read now", "stream", s.name, "problem", problem)
	}
	s.f.changes.notify()
}

// readable notes that the stream can be read.
func (s *source) readable() {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.unread = ""
}

// advanceLocked notes that a message was read by following.
func (s *source) advanceLocked(sequence uint64) {
	s.followed = sequence
	s.status.Last = max(s.status.Last, sequence)
	if s.advanced != nil {
		close(s.advanced)
		s.advanced = nil
	}
}

// isComplete reports whether every message of the stream is known. The feed's lock is held.
func (s *source) isComplete() bool {
	st := s.report()
	return st.Known && (!st.Exists || st.Problem == "" && !st.Filling && st.IndexedFrom <= max(st.First, 1))
}

// report is the status. The feed's lock is held.
func (s *source) report() StreamStatus {
	st := s.status
	st.IndexedFrom, st.Indexed = s.following.knownLocked()
	st.Problem = cmp.Or(s.unseen, s.unread)
	return st
}
