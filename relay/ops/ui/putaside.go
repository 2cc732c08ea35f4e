package ui

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/ops/ui/feed"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// maxPutAside bounds what is put aside by one click.
	maxPutAside = 10_000
	// putAsideTimeout bounds how long that takes.
	putAsideTimeout = time.Minute
)

// aside says what of the quarantine is put aside: one message, all of a reason up to a
// sequence, or what was sent again and is stored.
type aside struct {
	sequence  uint64
	reason    string
	upTo      uint64
	delivered bool
}

// asideOf reads what a request is about.
func asideOf(r *http.Request) (a aside, err error) {
	number := func(name string) uint64 {
		value := r.FormValue(name)
		if value == "" {
			return 0
		}
		n, e := strconv.ParseUint(value, 10, 64)
		if e != nil {
			err = fmt.Errorf("%s: %q is no sequence", name, shorten(value))
		}
		return n
	}
	a = aside{sequence: number("seq"), upTo: number("to-seq"), reason: r.FormValue("reason"), delivered: r.FormValue("delivered") != ""}
	if err == nil && a.sequence == 0 && !a.delivered && (a.reason == "" || a.upTo == 0) {
		err = errors.New("what to put aside is missing: a sequence, or a reason and up to which sequence")
	}
	return a, err
}

// askPutAside asks before something is deleted.
func (s *Server) askPutAside(w http.ResponseWriter, r *http.Request) {
	if s.o.ReadOnly {
		s.refuse(w, r, http.StatusForbidden, "For reading only", "Nothing can be put aside here: the page was started with --read-only.")
		return
	}
	a, err := asideOf(r)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, "This cannot be put aside", err.Error())
		return
	}
	v := struct {
		Question, Explanation, Back string
		Fields                      []fact
	}{Back: "/quarantine"}
	const goneAll = " Their bodies are deleted from the quarantine, and written to the log of this page first."
	const gone = " Its body is deleted from the quarantine, and written to the log of this page first."
	switch {
	case a.sequence != 0:
		v.Question = fmt.Sprintf("Put aside what is quarantined at sequence %d?", a.sequence)
		v.Explanation, v.Back = "It is no longer looked after."+gone, quarantinePath(a.sequence)
		v.Fields = []fact{{Name: "seq", Value: digits(a.sequence)}}
	case a.delivered:
		n := len(s.jobs.deliveredSequences())
		v.Question = fmt.Sprintf("Put aside the %s that were sent again?", text.Count(n))
		v.Explanation, v.Back = "The relay has answered 200 for each of them."+goneAll, "/replay"
		v.Fields = []fact{{Name: "delivered", Value: "1"}}
	default:
		v.Question = fmt.Sprintf("Put aside all that is quarantined for the reason %s?", text.Line(a.reason))
		v.Explanation, v.Back = fmt.Sprintf("%s What came after sequence %d stays.", s.howMany(a.reason), a.upTo)+goneAll, reasonPath(a.reason)
		v.Fields = []fact{{Name: "reason", Value: a.reason}, {Name: "to-seq", Value: digits(a.upTo)}}
	}
	s.render(w, r, page{View: "question", Title: "Put aside?", Body: v})
}

// howMany says how many are quarantined for a reason.
func (s *Server) howMany(reason string) string {
	counts, whole := s.feed.Reasons()
	for _, c := range counts {
		switch {
		case c.Reason != reason:
		case !whole:
			return fmt.Sprintf("There are %s or more of them.", text.Count(c.Count))
		case c.Count == 1:
			return "There is one."
		default:
			return fmt.Sprintf("There are %s of them.", text.Count(c.Count))
		}
	}
	return "None is counted yet."
}

// putAside deletes from the quarantine, and logs what it deletes first.
func (s *Server) putAside(w http.ResponseWriter, r *http.Request) {
	a, err := asideOf(r)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, "This cannot be put aside", err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), putAsideTimeout)
	defer cancel()
	n, more, err := s.deleteQuarantined(ctx, a)
	err = s.orAway(err)
	v := struct{ Title, Text string }{Title: "Put aside", Text: fmt.Sprintf("%s deleted from the quarantine; the log of this page has what they were.", text.Count(n))}
	if n == 1 {
		v.Text = "One is deleted from the quarantine; the log of this page has what it was."
	}
	if more {
		v.Text += " There are more: put them aside as well."
	}
	status := 0
	if err != nil {
		v.Title, status = "Not all are put aside", http.StatusServiceUnavailable
		v.Text += " Then: " + err.Error()
	}
	s.render(w, r, page{View: "aside", Title: v.Title, Status: status, Body: v})
}

// deleteQuarantined deletes what a is about, and returns how many those were, and whether
// there are more.
func (s *Server) deleteQuarantined(ctx context.Context, a aside) (n int, more bool, err error) {
	js, err := jsapi.New(s.conn(), s.cfg.Stream.Domain)
	if err != nil {
		return 0, false, err
	}
	stream, err := js.Stream(ctx, s.cfg.Stream.Quarantine)
	if err != nil {
		return 0, false, fmt.Errorf("the stream %s cannot be changed: %w", s.cfg.Stream.Quarantine, err)
	}
	one := func(m streamreader.Message) error {
		if err := s.deleteMessage(ctx, stream, m); err != nil {
			return err
		}
		n++
		return nil
	}
	switch {
	case a.sequence != 0, a.delivered:
		sequences := []uint64{a.sequence}
		if a.delivered {
			sequences = s.jobs.deliveredSequences()
			more, sequences = len(sequences) > maxPutAside, sequences[:min(len(sequences), maxPutAside)]
		}
		for _, sequence := range sequences {
			m, err := s.message(ctx, s.cfg.Stream.Quarantine, sequence)
			if errors.Is(err, errGone) {
				continue
			}
			if err == nil {
				err = one(m)
			}
			if err != nil {
				return n, more, err
			}
		}
		s.jobs.forgetDelivered(sequences)
		return n, more, nil
	}
	selection := streamreader.Selection{
		Domain: s.cfg.Stream.Domain, Stream: s.cfg.Stream.Quarantine, Subjects: []string{schema.QuarantineSubjects(s.cfg.Stream.Prefix)}, FromSeq: 1, ToSeq: a.upTo,
	}
	filter := streamreader.Filter{Reasons: []string{a.reason}}
	err = streamreader.Read(ctx, s.conn(), selection, nil, func(m streamreader.Message) error {
		switch {
		case !filter.Matches(m):
			return nil
		case n == maxPutAside:
			more = true
			return errEnough
		}
		return one(m)
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil && ctx.Err() != nil {
		more = true
	}
	return n, more, err
}

// errEnough ends reading.
var errEnough = errors.New("as many as are put aside at once")

// deleteMessage deletes one message, once the log has it.
func (s *Server) deleteMessage(ctx context.Context, stream jetstream.Stream, m streamreader.Message) error {
	data := m.Event.Data
	if m.Err != nil {
		data = m.Data // of somebody else's making
	}
	body, encoding := string(data), "text"
	if !utf8.Valid(data) {
		body, encoding = base64.StdEncoding.EncodeToString(data), "base64"
	}
	record := slog.NewRecord(time.Now(), slog.LevelWarn, "put aside: deleted from the quarantine", 0)
	record.Add("stream", s.cfg.Stream.Quarantine, "sequence", m.Sequence, "stored", m.Stored,
		"reason", m.Event.Reason(), "detail", m.Event.Detail(), "taskId", feed.AboutTask(m), "attributes", m.Event.Extensions, "encoding", encoding, "body", body)
	if err := s.o.Audit.Handler().Handle(ctx, record); err != nil {
		return fmt.Errorf("sequence %d is not deleted, since the log does not have it: %w", m.Sequence, err)
	}
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	subject := jsapi.Prefix(s.cfg.Stream.Domain) + "STREAM.MSG.DELETE." + s.cfg.Stream.Quarantine
	ctx, stop := s.denied.Guard(ctx, subject)
	defer stop(nil)
	err := stream.DeleteMsg(ctx, m.Sequence)
	if denied, ok := errors.AsType[*broker.PermissionError](context.Cause(ctx)); err != nil && ok {
		err = denied
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		s.o.Log.Error("it was not deleted after all", "sequence", m.Sequence, "error", err)
		return fmt.Errorf("sequence %d cannot be deleted: %w", m.Sequence, err)
	}
	s.feed.Forget(m.Sequence)
	return nil
}
