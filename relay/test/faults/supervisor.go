package faults

import (
	"context"
	"fmt"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// supervisor starts a relay again that has ended on a write error.
type supervisor struct {
	*trial
	relay *rig.Relay
	cause string // which the relay's log must tell
	ended int    // how often it has
}

// ends tells when the relay has ended.
func (s *supervisor) ends(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func(p *rig.Process) {
		if _, err := p.Wait(ctx); err == nil {
			close(done)
		}
	}(s.relay.Process)
	return done
}

// accepts waits for so many more 200s. A relay whose store had a write error
// ends by itself, and is started again, as a supervisor would.
func (s *supervisor) accepts(load *rig.Load, n int) {
	for {
		ctx, cancel := context.WithCancel(s.ctx)
		accepted := make(chan error, 1)
		go func() { accepted <- load.AwaitAccepted(ctx, n) }()
		select {
		case err := <-accepted:
			cancel()
			s.must(err)
			return
		case <-s.ends(ctx):
			cancel()
			<-accepted
		}
		s.ended++
		code, err := s.relay.Wait(s.ctx)
		s.must(err)
		if log := s.relay.Log(); code != 1 || !strings.Contains(log, s.cause) {
			s.fail("the relay ended with %d, and should have had a write error and 1: %s", code, lastLine(log))
		}
		s.must(s.relay.Restart(s.ctx))
	}
}

// lastLine is the last one of a log.
func lastLine(log string) string { return fmt.Sprintf("%q", log[strings.LastIndexByte(log, '\n')+1:]) }
