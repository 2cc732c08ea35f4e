package faults

import (
	"runtime"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// share tells how much of this machine a row has to itself. Where others work as well
// both ends of its connections are slower, and that is no fault of the relay's.
type share struct {
	relay  *rig.Relay
	began  time.Time
	others time.Duration // had the processors before that
}

// leastShare is how little is still taken for a share. With less, no time tells
// anything, and the row fails rather than to let everything pass.
const leastShare = 0.2

func (t *trial) watchShare(r *rig.Relay) *share {
	s := &share{relay: r, began: time.Now()}
	var err error
	s.others, err = s.ofOthers()
	t.must(err)
	return s
}

// ofOthers is the processors' time that neither the relay nor this program has had.
func (s *share) ofOthers() (time.Duration, error) {
	all, err := rig.MachineCPU()
	if err != nil {
		return 0, err
	}
	relay, err := s.relay.CPU()
	if err != nil {
		return 0, err
	}
	own, err := rig.OwnCPU()
	return all - relay - own, err
}

// stretch is how long something may take here that may take so long on a machine where
// nobody else works.
func (s *share) stretch(t *trial, budget time.Duration) time.Duration {
	others, err := s.ofOthers()
	t.must(err)
	whole := time.Since(s.began) * time.Duration(runtime.NumCPU())
	left := max(leastShare, min(1, 1-float64(others-s.others)/float64(whole)))
	if left < 0.9 {
		t.note("others had %.0f %% of this machine meanwhile", 100*(1-left))
	}
	return time.Duration(float64(budget) / left)
}

// inTime is a budget with time to spare in the short form, in which rows run beside each
// other on whatever machine there is.
func (t *trial) inTime(budget time.Duration) time.Duration { return t.duration(8*budget, budget) }
