package archive

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/apixo-relay/apixo-relay/relay/retry"
)

const (
	// firstTargetWait is how long it is waited before a target is tried again that could not
	// store, and lastTargetWaits how many times that at last.
	firstTargetWait = time.Second
	lastTargetWaits = 30
	// complainEvery is how often the log says that something still fails.
	complainEvery = time.Minute
)

// gate holds everything up while the target cannot store, but for one at a time who tries:
// what is downloaded in vain costs the origin as much.
type gate struct {
	log   *slog.Logger
	first time.Duration // the back-off's

	mu      sync.Mutex
	failure error         // nil while the target works
	inPut   bool          // that is of storing, which only storing shows to be over
	opened  chan struct{} // closed when it works again
	trying  chan struct{} // has a place for the one who tries
	wait    *backoff.ExponentialBackOff
	complaint
}

// err is why the target cannot store; nil if it can.
func (g *gate) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failure
}

// enter waits until something may be tried. Who may must call leave once: with the error of the
// target, if that has failed, and whether it was to store something. The error of enter is the
// cause of ctx's end.
func (g *gate) enter(ctx context.Context) (leave func(err error, put bool), err error) {
	for {
		g.mu.Lock()
		failure, opened, trying, wait := g.failure, g.opened, g.trying, g.wait
		g.mu.Unlock()
		if failure == nil {
			return func(err error, put bool) {
				if err != nil {
					g.close(err, put)
				}
			}, nil
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case trying <- struct{}{}:
			if err := retry.Sleep(ctx, wait.NextBackOff()); err != nil {
				<-trying
				return nil, err
			}
			return func(err error, put bool) {
				if err != nil {
					g.close(err, put)
				} else {
					g.open(put)
				}
				<-trying
			}, nil
		}
	}
}

func (g *gate) close(err error, put bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure == nil {
		g.opened, g.trying, g.wait = make(chan struct{}), make(chan struct{}, 1), retry.Backoff(g.first, lastTargetWaits*g.first)
	}
	g.failure, g.inPut = err, put
	g.tell(g.log, "the target cannot store, so that nothing is acknowledged; it is tried again", err)
}

func (g *gate) open(put bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure == nil || g.inPut && !put {
		return
	}
	close(g.opened)
	g.failure = nil
	g.over(g.log, "the target stores again")
}

// complaint is told to the log once a minute, however often there is cause to. Its methods must
// not be called by two goroutines at once.
type complaint struct {
	last time.Time
	told bool
}

func (c *complaint) tell(log *slog.Logger, what string, err error) {
	if time.Since(c.last) < complainEvery {
		return
	}
	c.last, c.told = time.Now(), true
	log.Error(what, "error", err)
}

// over says that it is over, if it was told.
func (c *complaint) over(log *slog.Logger, what string) {
	if c.told {
		log.Info(what)
	}
	c.told = false
}
