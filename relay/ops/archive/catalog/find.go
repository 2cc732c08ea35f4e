package catalog

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
)

const (
	// firstWindow and lastWindow are how many sequences are looked at in one go: few at first,
	// since what is asked for has mostly been archived a short while ago. windowGrowth is by how
	// much a window is larger than the one before.
	firstWindow  = 5_000
	lastWindow   = 500_000
	windowGrowth = 5
)

// Options say how far to look.
type Options struct {
	// All looks through the whole stream, for each target of each task. Without it the end is
	// where of each task an archive has been found that has all of its files.
	All bool
	// Progress is told how many messages were looked at, of how many there are; it may be nil.
	Progress func(read, total uint64)
}

// Find returns what the archive has told of tasks, by their ids; of whom it has told nothing, there
// is nothing. It looks at the headers of the stream's messages, the newest ones first, and keeps a
// few numbers of each task in memory. The error is ErrNoArchive, or says why the stream cannot be
// read, and what to do.
func Find(ctx context.Context, conn *nats.Conn, cfg config.Config, o Options, ids ...string) (map[string]Task, error) {
	places, err := locate(ctx, conn, cfg, o, ids)
	if err != nil {
		return nil, inWords(err)
	}
	tasks := make(map[string]Task)
	for id, p := range places {
		if len(p.sequences) == 0 {
			continue
		}
		t, err := Read(ctx, conn, cfg, id, p.sequences)
		if err != nil {
			return nil, err
		}
		tasks[id] = t
	}
	return tasks, nil
}

// place is where the reports of a task are.
type place struct {
	sequences []uint64 // of the newest windows first, at most maxReports and those of one window
	whole     bool
}

// locate finds the reports of tasks, in windows of the stream from its end on.
func locate(ctx context.Context, conn *nats.Conn, cfg config.Config, o Options, ids []string) (map[string]*place, error) {
	js, err := jsapi.New(conn, cfg.Stream.Domain)
	if err != nil {
		return nil, fmt.Errorf("JetStream cannot be used: %w", err)
	}
	s := selection(cfg)
	stream, err := js.Stream(ctx, s.Stream)
	if err != nil {
		return nil, streamreader.Explain(s, err)
	}
	places, open := make(map[string]*place, len(ids)), 0
	for _, id := range ids {
		if places[id] == nil {
			places[id] = new(place)
			open++
		}
	}
	state := stream.CachedInfo().State
	first, end := max(state.FirstSeq, 1), state.LastSeq+1
	for below, span := end, uint64(firstWindow); below > first && (open > 0 || o.All); span = min(span*windowGrowth, lastWindow) {
		s.FromSeq, s.ToSeq = below-min(span, below-first), below-1
		below = s.FromSeq
		window := make(map[string][]uint64)
		err := streamreader.Scan(ctx, conn, s, func(h streamreader.Head) error {
			id, _, failed, ok := event.ParseArchiveID(h.ID)
			p := places[id]
			if !ok || p == nil {
				return nil
			}
			window[id] = append(window[id], h.Sequence)
			if !failed && !p.whole {
				p.whole = true
				open--
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for id, sequences := range window {
			places[id].add(sequences)
		}
		if o.Progress != nil {
			o.Progress(end-below, end-first)
		}
	}
	return places, nil
}

// add adds the reports of a window, which are older than all before.
func (p *place) add(sequences []uint64) {
	if len(p.sequences) < maxReports {
		p.sequences = append(p.sequences, sequences[max(0, len(sequences)-maxReports):]...)
	}
}
