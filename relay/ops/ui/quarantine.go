package ui

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/ops/ui/feed"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// quarantineView is a page of what is quarantined.
type quarantineView struct {
	reasonsView
	Missing     string
	Rows        []quarantineRow
	Problem     string
	Note        string
	First, Next string
	PutAside    string
	// Last is up to where what is done to all of a reason is done: not to what came since.
	Last     uint64
	Commands []string
}

// reasonsView are the reasons for which something is quarantined.
type reasonsView struct {
	// Reason is the one that is chosen, and Label how it is shown.
	Reason, Label string
	Reasons       []reasonRow
	ReasonsNote   string
}

type reasonRow struct {
	Reason, Link string
	Count        int
	Current      bool
}

type quarantineRow struct {
	Sequence       uint64
	Stored         time.Time
	Reason, Detail string
	Task, TaskLink string
	Bytes          int
}

// quarantine lists what is quarantined, the newest first.
func (s *Server) quarantine(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := form{Quarantine: true, Reason: formOf(q).Reason}
	v := quarantineView{
		reasonsView: s.reasons(f.Reason), Missing: "/expected#missing-title",
		Commands: []string{"apixo-relay tail --from-seq 1" + f.flags()},
	}
	status := 0
	p, err := s.readPage(r.Context(), f, q.Get("before"))
	if err != nil && !s.isQuarantineMissing(err) {
		v.Problem, status = err.Error(), statusOf(err)
	}
	for _, m := range p.Messages {
		row := quarantineRow{Sequence: m.Sequence, Stored: m.Stored, Reason: text.Line(m.Event.Reason()), Detail: s.item(m).Detail, Bytes: len(m.Event.Data)}
		if row.Task = feed.AboutTask(m); schema.ValidTaskID(row.Task) {
			row.TaskLink = taskPath(row.Task)
		}
		row.Task = shorten(row.Task)
		v.Rows = append(v.Rows, row)
		v.Last = max(v.Last, m.Sequence)
	}
	if q.Get("before") != "" {
		v.First = reasonPath(f.Reason)
	}
	if p.Next > 0 {
		v.Next = link("/quarantine", reasonQuery(f.Reason), p.Next)
	}
	if len(v.Rows) > 0 {
		v.Note = pageNote(p, len(v.Rows))
	}
	v.Last = max(v.Last, s.feed.Status().Quarantine.Last)
	aside := reasonQuery(f.Reason)
	aside.Set("to-seq", digits(v.Last))
	v.PutAside = "/quarantine/put-aside?" + aside.Encode()
	s.render(w, r, page{View: "quarantine", Title: "Quarantine", Status: status, Live: "/live?view=quarantine&reason=" + url.QueryEscape(f.Reason), Body: v})
}

// isQuarantineMissing reports whether an error is about a stream that is made when the first
// relay starts.
func (s *Server) isQuarantineMissing(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound)
}

// reasons are those of the quarantine, with how many there are of each.
func (s *Server) reasons(chosen string) reasonsView {
	v := reasonsView{Reason: chosen, Label: text.Line(chosen)}
	counts, whole := s.feed.Reasons()
	for _, c := range counts {
		v.Reasons = append(v.Reasons, reasonRow{Reason: text.Line(c.Reason), Link: reasonPath(c.Reason), Count: c.Count, Current: c.Reason == chosen})
	}
	if !whole {
		v.ReasonsNote = "Only the newest are counted, or counting goes on."
	}
	return v
}

func reasonQuery(reason string) url.Values {
	q := make(url.Values)
	if reason != "" {
		q.Set("reason", reason)
	}
	return q
}

// reasonPath is where what is quarantined for a reason is listed.
func reasonPath(reason string) string { return link("/quarantine", reasonQuery(reason), 0) }

// quarantinedView is one message of the quarantine.
type quarantinedView struct {
	Sequence       uint64
	Reason, Detail string
	CanSend        bool
	Unsendable     string
	Facts          []fact
	Text           markedText
	JSON           *markedText
	Commands       []string
}

// quarantined shows one message of the quarantine.
func (s *Server) quarantined(w http.ResponseWriter, r *http.Request) {
	m, ok := s.quarantinedMessage(w, r)
	if !ok {
		return
	}
	e := m.Event
	v := quarantinedView{Sequence: m.Sequence, Reason: text.Line(e.Reason()), Detail: shorten(e.Detail()), CanSend: isWebhook(e)}
	if v.CanSend {
		if _, err := schema.ParseWebhook(e.Data); err != nil {
			v.CanSend, v.Unsendable = false, "This version refuses it, too, so that it cannot be sent to the relay again: it would be quarantined once more."
		}
	}
	add := func(name, value, link string) {
		if value != "" {
			v.Facts = append(v.Facts, fact{name, value, link})
		}
	}
	add("stored", clock(m.Stored), "")
	add("came", clock(e.Time), "")
	if task := feed.AboutTask(m); schema.ValidTaskID(task) {
		add("task", task, taskPath(task))
	} else {
		add("subject", shorten(task), "")
	}
	add("kind", text.Line(e.Type), "")
	add("stream", fmt.Sprintf("%s, sequence %d", s.cfg.Stream.Quarantine, m.Sequence), "")
	add("body", fmt.Sprintf("%s bytes, %s", text.Count(len(e.Data)), text.Line(e.DataContentType)), "")
	add("SHA-256", text.Line(e.ID), "")
	for _, name := range sortedNames(e.Extensions) {
		if name != "reason" && name != "detail" {
			add(text.Line(name), shorten(e.Extensions[name]), "")
		}
	}
	v.Text, v.JSON = markFault(e)
	v.Commands = []string{
		fmt.Sprintf("apixo-relay tail --quarantine --from-seq %d --to-seq %[1]d --output json", m.Sequence),
		fmt.Sprintf("nats stream get %s %d", s.cfg.Stream.Quarantine, m.Sequence),
	}
	if v.CanSend {
		v.Commands = append(v.Commands, fmt.Sprintf("apixo-relay replay --quarantine --from-seq %d --to-seq %[1]d --to env:CALLBACK_URL", m.Sequence))
	}
	s.render(w, r, page{View: "quarantined", Title: "Quarantined " + digits(m.Sequence), Body: v})
}

// isWebhook reports whether what is quarantined is a delivery, which can be sent again.
func isWebhook(e schema.Event) bool {
	return e.Type == schema.TypeWebhookRejected || e.Type == schema.TypeWebhookConflict
}

// quarantinedMessage is the message that a request names; if there is none, it is refused.
func (s *Server) quarantinedMessage(w http.ResponseWriter, r *http.Request) (streamreader.Message, bool) {
	sequence, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil || sequence == 0 {
		s.refuse(w, r, http.StatusNotFound, "Nothing is here", fmt.Sprintf("%q is no sequence of the quarantine.", shorten(r.PathValue("seq"))))
		return streamreader.Message{}, false
	}
	m, err := s.message(r.Context(), s.cfg.Stream.Quarantine, sequence)
	switch {
	case errors.Is(err, errGone):
		s.refuse(w, r, http.StatusNotFound, "It is not in the quarantine", fmt.Sprintf("At sequence %d of the stream %s there is nothing, or not any more.", sequence, s.cfg.Stream.Quarantine))
		return m, false
	case err != nil:
		s.refuse(w, r, http.StatusServiceUnavailable, "The broker does not answer", err.Error())
		return m, false
	case m.Err != nil:
		s.refuse(w, r, http.StatusNotFound, "Not of the relay's making", "What is at this sequence is no CloudEvent: "+m.Err.Error())
		return m, false
	}
	return m, true
}

// body writes the body of a delivery byte for byte, as a file and nothing that a browser shows.
func (s *Server) body(w http.ResponseWriter, r *http.Request) {
	m, ok := s.quarantinedMessage(w, r)
	if !ok {
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": "quarantined-" + digits(m.Sequence) + ".bin"}))
	h.Set("Content-Length", strconv.Itoa(len(m.Event.Data)))
	_, _ = w.Write(m.Event.Data)
}
