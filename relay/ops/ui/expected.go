package ui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// maxOutstanding bounds the outstanding tasks that are listed.
const maxOutstanding = 200

// expectedView are the announced tasks, and what became of them.
type expectedView struct {
	Outstanding   []outstandingRow
	Problem, More string
	Recovered     []recoveredRow
	Missing       []quarantineRow
	Commands      []string
}

type outstandingRow struct {
	ID, Link, Model, Asked string
	Announced              time.Time
	Age, Next, Last        string
}

type recoveredRow struct {
	Stored        time.Time
	ID, Link, How string
}

// expected lists the announced tasks.
func (s *Server) expected(w http.ResponseWriter, r *http.Request) {
	s.renderSlow(w, r, page{View: "expected", Title: "Expected"}, func() any {
		v := expectedView{Commands: []string{"apixo-relay expect --list"}}
		s.addOutstanding(r.Context(), &v)
		for _, found := range s.feed.Recovered() {
			how := "by the relay, which had asked the status API"
			if found.By == "backfill" {
				how = "by backfill"
			}
			v.Recovered = append(v.Recovered, recoveredRow{Stored: found.Stored, ID: found.TaskID, Link: taskPath(found.TaskID), How: how})
		}
		s.addMissing(r.Context(), &v)
		return v
	})
}

// addOutstanding adds what is in the bucket.
func (s *Server) addOutstanding(ctx context.Context, v *expectedView) {
	tasks, err := s.expect.List(ctx)
	if err != nil {
		v.Problem = "What is outstanding is not known: " + err.Error() + "."
		return
	}
	if more := len(tasks) - maxOutstanding; more > 0 {
		v.More = fmt.Sprintf("%s more are outstanding; 'apixo-relay expect --list' has them all.", text.Count(more))
	}
	now := time.Now()
	for _, t := range tasks[:min(len(tasks), maxOutstanding)] {
		row := outstandingRow{ID: text.Line(t.TaskID), Link: taskPath(t.TaskID), Model: text.Line(t.Model), Asked: text.Count(t.Asked), Announced: t.Announced, Age: elapsed(now.Sub(t.Announced)) + " ago", Last: shorten(t.LastAnswer)}
		switch wait := t.Next.Sub(now); {
		case t.Problem != "":
			row.Next, row.Last = "never", shorten(t.Problem)
		case wait > 0:
			row.Next = "in " + elapsed(wait)
		default:
			row.Next = "now"
		}
		v.Outstanding = append(v.Outstanding, row)
	}
}

// addMissing adds the newest tasks that were given up.
func (s *Server) addMissing(ctx context.Context, v *expectedView) {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	p, err := streamreader.ReadPage(ctx, s.conn(), streamreader.Selection{
		Domain: s.cfg.Stream.Domain, Stream: s.cfg.Stream.Quarantine, Subjects: []string{schema.MissingSubject(s.cfg.Stream.Prefix)},
	}, streamreader.PageOptions{Size: pageSize, Most: maxExamined})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		v.Problem += " Which were given up is not known: " + inWords(err, s.cfg.Stream.Quarantine).Error() + "."
		return
	}
	for _, m := range p.Messages {
		v.Missing = append(v.Missing, quarantineRow{Sequence: m.Sequence, Stored: m.Stored, Task: text.Line(m.Event.Subject), Reason: text.Line(m.Event.Reason()), Detail: shorten(m.Event.Detail())})
	}
}
