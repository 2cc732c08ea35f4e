package feed

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
)

const (
	// hour is how many full minutes are told, besides the current one.
	hour = 60
	// minuteRing has room for them, and for some of a broker whose clock is ahead.
	minuteRing = 64
	// lagSamples is of how many events of a minute the callback lag is measured, which
	// takes their bodies, and lagInterval how far apart they are at least.
	lagSamples  = 20
	lagInterval = time.Minute / lagSamples
)

// Minute is what was stored in one minute.
type Minute struct {
	// At is when it began.
	At time.Time
	// How many events told success and failure, and how many messages were quarantined for
	// which kind of reason.
	Success, Failed, Rejected, Conflict, Missing int
	// LagMedian and LagMax are how long after their tasks' completion events were stored, of
	// LagSamples of them that were looked at; 0 without any.
	LagMedian, LagMax time.Duration
	LagSamples        int
}

// minutes counts what was stored in the last hour, by minute.
type minutes struct {
	ring [minuteRing]minute
	// newest is the latest minute that has anything.
	newest int64
	// measured is when an event was last chosen to be measured.
	measured time.Time
	// ready: the candidates are all that there are, and may be measured.
	ready bool
}

type minute struct {
	at     int64 // in minutes since 1970
	counts [kinds]int
	lags   []time.Duration
	// candidates are events of the time before, chosen evenly among seen ones, to be measured.
	candidates []candidate
	seen       int
}

type candidate struct {
	sequence uint64
	stored   time.Time
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// span is how far back messages count.
func (*minutes) span() time.Duration { return (hour + 1) * time.Minute }

// of is the minute of a time; nil if that is too long ago. The broker's clock may be ahead of
// now.
func (m *minutes) of(stored, now time.Time) *minute {
	at := minuteOf(stored)
	if at < max(m.newest, minuteOf(now))-hour {
		return nil
	}
	b := &m.ring[at%minuteRing]
	switch {
	case b.at > at:
		return nil
	case b.at < at:
		*b = minute{at: at}
	}
	return b
}

// count counts a message.
func (m *minutes) count(k kind, stored, now time.Time) {
	if b := m.of(stored, now); b != nil {
		b.counts[k]++
		m.newest = max(m.newest, b.at)
	}
}

// offer makes an event that was counted a candidate to be measured later.
func (m *minutes) offer(sequence uint64, stored time.Time) {
	b := &m.ring[minuteOf(stored)%minuteRing]
	if b.at != minuteOf(stored) {
		return
	}
	b.seen++
	if len(b.candidates) < lagSamples {
		b.candidates = append(b.candidates, candidate{sequence, stored})
	} else if i := rand.IntN(b.seen); i < lagSamples {
		b.candidates[i] = candidate{sequence, stored}
	}
}

// add takes over what another one has of the time before.
func (m *minutes) add(other *minutes) {
	for i := range other.ring {
		from := &other.ring[i]
		if from.at == 0 {
			continue
		}
		to := &m.ring[i]
		if to.at > from.at {
			continue
		}
		if to.at < from.at {
			*to = minute{at: from.at}
		}
		for k, n := range from.counts {
			to.counts[k] += n
		}
		to.seen += from.seen
		to.candidates = append(to.candidates, from.candidates...)
		m.newest = max(m.newest, from.at)
	}
}

// nextCandidate returns an event of the time before to be measured, one of the newest minute
// first; none while some may be missing.
func (m *minutes) nextCandidate() (c candidate, ok bool) {
	if !m.ready {
		return candidate{}, false
	}
	for at := m.newest; at > max(m.newest-hour-1, 0); at-- {
		b := &m.ring[at%minuteRing]
		if b.at != at || len(b.candidates) == 0 {
			continue
		}
		if len(b.lags) >= lagSamples {
			b.candidates = nil
			continue
		}
		i := rand.IntN(len(b.candidates)) // each window has chosen of its own
		c = b.candidates[i]
		b.candidates = slices.Delete(b.candidates, i, i+1)
		return c, true
	}
	m.ready = false
	return candidate{}, false
}

// wantsLag reports whether an event that has just come is to be measured.
func (m *minutes) wantsLag(stored, now time.Time) bool {
	b := m.of(stored, now)
	if b == nil || len(b.lags) >= lagSamples || stored.Sub(m.measured).Abs() < lagInterval {
		return false
	}
	m.measured = stored
	return true
}

// measure notes the callback lag of an event.
func (m *minutes) measure(stored, now time.Time, lag time.Duration) {
	if b := m.of(stored, now); b != nil && len(b.lags) < lagSamples {
		b.lags = append(b.lags, lag)
	}
}

// lagOf is how long after its task's completion an event was stored, if it tells.
func lagOf(m streamreader.Message) (time.Duration, bool) {
	task, err := m.Event.Task()
	if m.Err != nil || err != nil || task.CompleteTime.IsZero() {
		return 0, false
	}
	return max(m.Stored.Sub(task.CompleteTime), 0), true
}

// forget takes away the counts of some kinds, and what was measured, once the stream is
// another one.
func (m *minutes) forget(which ...kind) {
	for i := range m.ring {
		b := &m.ring[i]
		for _, k := range which {
			b.counts[k] = 0
			if k == kindSuccess {
				b.lags, b.candidates, b.seen = nil, nil, 0
			}
		}
	}
}

// report returns the last hour.
func (m *minutes) report(now time.Time) []Minute {
	end := max(m.newest, minuteOf(now))
	report := make([]Minute, 0, hour+1)
	for at := end - hour; at <= end; at++ {
		told := Minute{At: time.Unix(at*60, 0).UTC()}
		if b := &m.ring[at%minuteRing]; b.at == at {
			told.Success, told.Failed = b.counts[kindSuccess], b.counts[kindFailed]
			told.Rejected, told.Conflict, told.Missing = b.counts[kindRejected], b.counts[kindConflict], b.counts[kindMissing]
			if told.LagSamples = len(b.lags); told.LagSamples > 0 {
				lags := slices.Sorted(slices.Values(b.lags))
				told.LagMedian, told.LagMax = lags[len(lags)/2], lags[len(lags)-1]
			}
		}
		report = append(report, told)
	}
	return report
}
