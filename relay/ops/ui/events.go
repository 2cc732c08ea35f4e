package ui

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

const (
	// pageSize is how many messages a list shows.
	pageSize = 50
	// maxExamined is how many messages are looked at for one page of a list: then it shows
	// what it has, and where to go on.
	maxExamined = 20_000
	// maxExports bounds the exports under way: each reads the stream as fast as it can.
	maxExports = 2
	// exportWriteTimeout is how long a reader may take for one event.
	exportWriteTimeout = time.Minute
)

// eventsView is a page of events.
type eventsView struct {
	Form                form
	Rows                []item
	Problem, Note       string
	First, Next, Export string
	Commands            []string
}

// events lists what is stored, the newest first.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f, before := formOf(q), q.Get("before")
	f.Quarantine, f.Reason = false, ""
	_, _, _, err := s.pageOf(f, before)
	if err == nil && s.trouble() == "" && f.Model+f.FailCode+f.Task != "" {
		// What only bodies tell takes a while to find: the head of the page comes first.
		s.renderSlow(w, r, page{View: "events", Title: "Events"}, func() any {
			v, _ := s.eventsView(r.Context(), f, before)
			return v
		})
		return
	}
	v, status := s.eventsView(r.Context(), f, before)
	s.render(w, r, page{View: "events", Title: "Events", Status: status, Body: v})
}

// eventsView reads the page of the list that begins below a sequence. The status is that of an
// answer that has not begun.
func (s *Server) eventsView(ctx context.Context, f form, before string) (v eventsView, status int) {
	v = eventsView{Form: f, Export: link("/events/export", f.query(), 0)}
	p, err := s.readPage(ctx, f, before)
	if err != nil {
		v.Problem, status = err.Error(), statusOf(err)
	}
	for _, m := range p.Messages {
		v.Rows = append(v.Rows, s.item(m))
	}
	if before != "" {
		v.First = link("/events", f.query(), 0)
	}
	if p.Next > 0 {
		v.Next = link("/events", f.query(), p.Next)
	}
	v.Note = pageNote(p, len(v.Rows))
	begin := ""
	if f.Since == "" && f.FromSeq == "" {
		begin = " --from-seq 1"
	}
	v.Commands = []string{"apixo-relay tail" + f.flags() + begin, "apixo-relay replay" + f.flags() + begin + " --to -"}
	return v, status
}

// readPage reads the page of a list that begins below a sequence.
func (s *Server) readPage(ctx context.Context, f form, before string) (p streamreader.Page, err error) {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	selection, filter, below, err := s.pageOf(f, before)
	if err != nil {
		return p, err
	}
	p, err = streamreader.ReadPage(ctx, s.conn(), selection, streamreader.PageOptions{Before: below, Size: pageSize, Most: maxExamined, Match: filter.Matches})
	return p, inWords(s.orAway(err), selection.Stream)
}

// pageOf is what to read for a page. Its errors are a formError.
func (s *Server) pageOf(f form, before string) (selection streamreader.Selection, filter streamreader.Filter, below uint64, err error) {
	selection, filter, err = f.selection(s.cfg, time.Now())
	if err == nil && before != "" {
		if below, err = strconv.ParseUint(before, 10, 64); err != nil {
			err = formError{fmt.Errorf("before: %q is no sequence", shorten(before))}
		}
	}
	return selection, filter, below, err
}

// pageNote says how far a page has looked.
func pageNote(p streamreader.Page, shown int) string {
	switch {
	case p.Next > 0 && shown < pageSize:
		return fmt.Sprintf("%s messages were looked at, down to sequence %s. Older ones may match, too.", text.Count(p.Examined), text.Count(p.Next))
	case shown == 0:
		return "Nothing that is stored matches."
	}
	return ""
}

// link is a path with parameters, below a sequence unless that is 0.
func link(path string, q url.Values, before uint64) string {
	if before != 0 {
		q.Set("before", digits(before))
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// export writes the selected events as the lines that replay writes to standard output, the
// oldest first. What cannot be written to its end is cut off, so that nobody takes it for whole.
func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	f := formOf(r.URL.Query())
	f.Quarantine, f.Reason = false, ""
	selection, filter, err := f.selection(s.cfg, time.Now())
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, "This cannot be exported", err.Error())
		return
	}
	select {
	case s.exports <- struct{}{}:
		defer func() { <-s.exports }()
	default:
		w.Header().Set("Retry-After", "30")
		s.refuse(w, r, http.StatusServiceUnavailable, "Others are exporting", fmt.Sprintf("%d exports are under way, which is as many as there may be: try again in a moment.", maxExports))
		return
	}
	if selection.FromSeq == 0 && selection.Since.IsZero() {
		selection.FromSeq = 1
	}
	h := w.Header()
	h.Set("Content-Type", "application/jsonl; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="apixo-events.jsonl"`)
	out := &exportWriter{w: w, control: http.NewResponseController(w), ended: s.ended}
	// A reader that has stopped reading does not hold up the end of the page.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ended, func() {
		cancel()
		_ = out.control.SetWriteDeadline(time.Now())
	})()
	_, err = replay.Run(ctx, s.conn(), replay.Lines(out), replay.Options{Selection: selection, Filter: filter, Concurrency: 1})
	switch {
	case err != nil && !out.begun && r.Context().Err() == nil:
		h.Del("Content-Disposition")
		s.refuse(w, r, http.StatusServiceUnavailable, "The events cannot be read", s.orAway(err).Error())
	case err != nil:
		panic(http.ErrAbortHandler)
	}
}

// exportWriter notices a reader that has stopped reading.
type exportWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ended   context.Context // no line is written after it
	begun   bool
}

// Write implements io.Writer.
func (e *exportWriter) Write(line []byte) (int, error) {
	e.begun = true
	if err := e.ended.Err(); err != nil {
		return 0, err
	}
	_ = e.control.SetWriteDeadline(time.Now().Add(exportWriteTimeout))
	return e.w.Write(line)
}
