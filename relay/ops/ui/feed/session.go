package feed

import (
	"context"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/retry"
)

const (
	// firstRetry and lastRetry bound how long it takes until a stream that could not be
	// read is tried again.
	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// session is the time in which a stream is one and the same.
type session struct {
	created time.Time
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// begin follows the stream from a sequence on, and reads what is below it.
func (s *source) begin(ctx context.Context, next uint64) {
	ctx, s.session.cancel = context.WithCancel(ctx)
	s.session.running.Go(func() {
		s.persist(ctx, func() error {
			s.f.mu.RLock()
			from := s.followed + 1
			s.f.mu.RUnlock()
			return s.following.follow(ctx, from)
		})
	})
	s.session.running.Go(func() {
		below := next
		s.persist(ctx, func() (err error) {
			below, err = s.following.fill(ctx, below)
			return err
		})
	})
}

// persist does something until there is no error or ctx ends.
func (s *source) persist(ctx context.Context, do func() error) {
	wait := retry.Backoff(firstRetry, lastRetry)
	for {
		began := time.Now()
		err := do()
		if err == nil || ctx.Err() != nil {
			return
		}
		s.failed(&s.unread, err)
		if time.Since(began) > lastRetry {
			wait.Reset()
		}
		if retry.Sleep(ctx, wait.NextBackOff()) != nil {
			return
		}
	}
}

// end ends the session, and returns when nothing of it runs any more.
func (s *source) end() {
	if s.session != nil {
		s.session.cancel()
		s.session.running.Wait()
		s.session = nil
	}
}
