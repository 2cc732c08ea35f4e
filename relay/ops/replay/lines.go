package replay

import (
	"context"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
)

// Lines writes each event as a line of its own, in the JSON event format of
// CloudEvents. A line is one write, so that what is delivered has been written.
func Lines(w io.Writer) Target { return &lineTarget{w: w} }

type lineTarget struct {
	w      io.Writer
	broken error // the writer's; nothing is written after it
}

func (*lineTarget) name() string { return "standard output" }

func (*lineTarget) close() {}

func (*lineTarget) prepare(m streamreader.Message) (outgoing, error) {
	line, err := event.ToJSON(m.Event, m.Header, m.Data)
	if err != nil {
		return outgoing{}, err
	}
	// White space between the members is of no meaning, and may hold a line break.
	compact := jsontext.Value(line)
	if err := compact.Compact(); err != nil {
		return outgoing{}, err
	}
	return outgoing{body: append(compact, '\n')}, nil
}

func (l *lineTarget) deliver(_ context.Context, p outgoing, done func(result)) {
	if l.broken == nil {
		_, l.broken = l.w.Write(p.body)
	}
	if l.broken != nil {
		done(result{}.givenUp(fmt.Errorf("the events cannot be written: %w", l.broken)))
		return
	}
	done(result{outcome: Delivered, attempts: 1})
}
