package replay

import (
	"context"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/stored"
)

// Lines writes each event as a line of its own, in the JSON event format of
// CloudEvents. A line is one write, so that what is delivered has been written.
func Lines(w io.Writer) Target { return &lines{w: w} }

type lines struct {
	w      io.Writer
	broken error // the writer's; nothing is written after it
}

func (*lines) name() string { return "standard output" }

func (*lines) close() {}

func (*lines) prepare(m stored.Message) (parcel, error) {
	line, err := event.JSON(m.Event, m.Header, m.Data)
	if err != nil {
		return parcel{}, err
	}
	// White space between the members is of no meaning, and may hold a line break.
	compact := jsontext.Value(line)
	if err := compact.Compact(); err != nil {
		return parcel{}, err
	}
	return parcel{body: append(compact, '\n')}, nil
}

func (l *lines) deliver(_ context.Context, p parcel, done func(result)) {
	if l.broken == nil {
		_, l.broken = l.w.Write(p.body)
	}
	if l.broken != nil {
		done(result{outcome: unfinished, stop: fmt.Errorf("the events cannot be written: %w", l.broken)})
		return
	}
	done(result{outcome: delivered})
}
