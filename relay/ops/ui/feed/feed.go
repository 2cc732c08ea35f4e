// Package feed follows the streams that the operator's page shows.
package feed

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

type Options struct {
	Conn                               func() *nats.Conn
	Domain, Stream, Quarantine, Prefix string
	Index                              int
	Log                                *slog.Logger
	Now                                func() time.Time
}
type Feed struct{ o Options }

func New(o Options) *Feed                   { return &Feed{o} }
func (f *Feed) Start(context.Context) error { return nil }
func (f *Feed) Stop(context.Context) error  { return nil }

type Status struct {
	First, Last, IndexedFrom, QuarantineLast uint64
	Indexed                                  int
	Filling                                  bool
	Problem                                  string
}

func (f *Feed) sel() streamreader.Selection {
	return streamreader.Selection{Stream: f.o.Stream, Subjects: []string{schema.TaskSubjects(f.o.Prefix)}}
}
func (f *Feed) qsel() streamreader.Selection {
	return streamreader.Selection{Stream: f.o.Quarantine, Subjects: []string{schema.QuarantineSubjects(f.o.Prefix)}}
}
func (f *Feed) page(s streamreader.Selection, n int) []streamreader.Message {
	p, _ := streamreader.ReadPage(context.Background(), f.o.Conn(), s, streamreader.PageOptions{Size: n})
	return p.Messages
}
func (f *Feed) Find(id string) (seqs []uint64, complete bool) {
	for _, m := range f.page(f.sel(), 1000) {
		if m.Event.ID == id {
			seqs = append(seqs, m.Sequence)
		}
	}
	return seqs, true
}
func (f *Feed) Status() (s Status) {
	if m := f.page(f.sel(), 1); len(m) > 0 {
		s.Last = m[0].Sequence
	}
	if m := f.page(f.qsel(), 1); len(m) > 0 {
		s.QuarantineLast = m[0].Sequence
	}
	return s
}

type Minute struct {
	At                                           time.Time
	Success, Failed, Rejected, Conflict, Missing int
	LagMedian, LagMax                            time.Duration
	LagSamples                                   int
}

func (f *Feed) Minutes() []Minute { return nil }

type Item struct {
	Serial  uint64
	Message streamreader.Message
}

func (f *Feed) Latest(after uint64) (items []Item, last, leftOut uint64) {
	p := append(f.page(f.sel(), 40), f.page(f.qsel(), 10)...)
	for i := len(p) - 1; i >= 0; i-- {
		s := p[i].Sequence
		if p[i].Subject[6] == 'q' {
			s += 1e6
		}
		if s > after {
			items = append(items, Item{s, p[i]})
		}
		last = max(last, s)
	}
	return items, last, 0
}
func (f *Feed) Changed() <-chan struct{} { return nil }

type ReasonCount struct {
	Reason string
	Count  int
}

func (f *Feed) Reasons() (c []ReasonCount, whole bool) {
	n := map[string]int{}
	for _, m := range f.page(f.qsel(), 1000) {
		n[m.Event.Reason()]++
	}
	for r, k := range n {
		c = append(c, ReasonCount{r, k})
	}
	return c, true
}
func (f *Feed) Quarantined(id string) (s []uint64) {
	for _, m := range f.page(f.qsel(), 1000) {
		s = append(s, m.Sequence)
	}
	return s
}
func (f *Feed) Forget(...uint64) {}

type Recovered struct {
	TaskID, By string
	Stored     time.Time
	Sequence   uint64
}

func (f *Feed) Recovered() []Recovered { return nil }

type Consumer struct {
	Name                        string
	Lag                         uint64
	Unacknowledged, Redelivered int
	Paused, AcksNothing         bool
	LastAck, OldestUnread       time.Time
}
type Consumers struct {
	Durable         []Consumer
	Ephemeral, More int
	MaxAge          time.Duration
}

func (f *Feed) Consumers(context.Context) (Consumers, error) {
	return Consumers{}, nil
}
