package fetch

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/catalog"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

// tellUnknown tells of tasks of which the archive has told nothing, and whether there are events
// of them.
func (r *run) tellUnknown(ctx context.Context, ids []string, found map[string]catalog.Task) error {
	unknown := make(map[string]string) // and the subject of the event
	for _, id := range ids {
		if _, ok := found[id]; !ok {
			unknown[id] = ""
		}
	}
	if len(unknown) == 0 || ctx.Err() != nil {
		return nil
	}
	err := r.eventsOf(ctx, unknown)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if subject, ok := unknown[id]; ok {
			if err := r.tellLocked(Result{TaskID: id, Result: Unknown, Error: r.whyUnknown(subject, err)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// eventsOf finds the subjects of the events of tasks.
func (r *run) eventsOf(ctx context.Context, subjects map[string]string) error {
	s := streamreader.Selection{
		Domain: r.cfg.Stream.Domain, Stream: r.cfg.Stream.Name, Subjects: []string{schema.TaskSubjects(r.cfg.Stream.Prefix)},
	}
	err := streamreader.Scan(ctx, r.conn, s, func(h streamreader.Head) error {
		if id := event.TaskIDOf(h.ID); id != "" {
			if _, ok := subjects[id]; ok {
				subjects[id] = h.Subject
			}
		}
		return nil
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

func (r *run) whyUnknown(subject string, err error) string {
	const nothing = "the archive has told nothing of it"
	switch subject {
	case schema.TaskSubject(r.cfg.Stream.Prefix, schema.StateSuccess):
		return fmt.Sprintf("%s; its event is in the stream %s: 'apixo-relay archive' stores its files as long as their addresses have not expired", nothing, r.cfg.Stream.Name)
	case schema.TaskSubject(r.cfg.Stream.Prefix, schema.StateFailed):
		return "it has no files: its event says that the task failed"
	}
	if err != nil {
		return fmt.Sprintf("%s; whether there is an event of it is not known: %v", nothing, err)
	}
	return fmt.Sprintf("%s, and there is no event of it in the stream %s, or not any more: is the id right, and does 'apixo-relay archive' run?", nothing, r.cfg.Stream.Name)
}
