package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/expect"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/ops/ui/feed"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// catchUpPatience is how long a look-up waits for the index to know what was just stored.
	catchUpPatience = 2 * time.Second
	// announcementTimeout bounds how long it takes to see whether a task is announced, so that
	// time is left for the rest.
	announcementTimeout = 2 * time.Second
	// maxDeliveries bounds the other deliveries that are shown of a task.
	maxDeliveries = 50
)

// taskView is what is known of a task.
type taskView struct {
	ID, State, Summary string
	Expired            string
	Media              []medium
	MoreMedia          string
	Archive            *archiveView // nil where it tells nothing
	ArchiveNote        string       // where that is not sure
	Facts, Attributes  []fact
	Timeline           []step
	Deliveries         []delivery
	JSON               string
	Commands           []string
	// Unknown are what the broker did not tell.
	Unknown []string
}

// fact is a line of a list.
type fact struct{ Name, Value, Link string }

// delivery is another message about a task.
type delivery struct {
	Stored             time.Time
	Link, Name, Detail string
}

// findTask leads from the field in which somebody enters an id to the task.
func (s *Server) findTask(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimSpace(r.URL.Query().Get("id"))
	if !schema.ValidTaskID(id) {
		s.refuse(w, r, http.StatusBadRequest, "No task id", fmt.Sprintf("%q is no task id: 1 to 128 letters, digits and _ . : - are.", shorten(id)))
		return
	}
	if isDots(id) && r.URL.Query().Has("file") {
		s.serveFile(w, r, id, r.URL.Query().Get("file"))
		return
	}
	if isDots(id) {
		s.showTask(w, r, id)
		return
	}
	http.Redirect(w, r, taskPath(id), http.StatusSeeOther)
}

// task shows the task of an address.
func (s *Server) task(w http.ResponseWriter, r *http.Request) { s.showTask(w, r, r.PathValue("id")) }

// showTask shows one task.
func (s *Server) showTask(w http.ResponseWriter, r *http.Request, id string) {
	if !schema.ValidTaskID(id) {
		s.refuse(w, r, http.StatusNotFound, "No such task", fmt.Sprintf("%q is no task id: 1 to 128 letters, digits and _ . : - are.", shorten(id)))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), brokerTimeout)
	defer cancel()
	found, search, err := s.lookUp(ctx, id)
	if err != nil {
		s.refuse(w, r, http.StatusServiceUnavailable, "The broker does not answer", err.Error())
		return
	}
	if len(found) == 0 && search != nil && !search.done() {
		s.render(w, r, page{View: "search", Title: id, Live: "/live?view=search&id=" + url.QueryEscape(id), Refresh: 2, Body: search.view()})
		return
	}
	v, known := s.taskView(ctx, id, found)
	switch {
	case !known && search != nil && search.problem() != "":
		w.Header().Set("Retry-After", "10")
		s.refuse(w, r, http.StatusServiceUnavailable, "Not searched to the end", fmt.Sprintf("Whether there is an event of %s is not known: %s.", id, search.problem()))
		return
	case !known && len(v.Unknown) > 0:
		s.refuse(w, r, http.StatusServiceUnavailable, "It is not known whether there is such a task", strings.Join(v.Unknown, " "))
		return
	case !known:
		s.refuse(w, r, http.StatusNotFound, "No such task", strings.TrimSpace(s.notFound(id)+" "+v.ArchiveNote))
		return
	}
	if len(found) > 0 {
		if task, err := found[0].Event.Task(); err == nil {
			var more int
			v.Media, more = s.media(task, taskPath(id), clicked(w, r, task))
			if more > 0 {
				v.MoreMedia = fmt.Sprintf("%s more addresses are in the event below.", text.Count(more))
			}
			if v.Archive != nil && time.Now().After(task.AddressesExpire(found[0].Stored)) {
				addresses, _ := task.Addresses(maxMedia)
				v.showArchived(addresses)
			}
		}
	} else if v.Archive != nil {
		v.showArchived(nil)
	}
	s.render(w, r, page{View: "task", Title: id, Body: v})
}

// notFound says where nothing was found.
func (s *Server) notFound(id string) string {
	return fmt.Sprintf("Nothing in the streams %s, %s and %s is about %s, and it is not announced.", s.cfg.Stream.Name, s.cfg.Stream.Quarantine, schema.DefaultArchive, id) +
		" Its event may have been deleted by age; 'apixo-relay backfill' asks APIXO for it."
}

// lookUp returns the events of a task, the newest first, from the index; and, where that does
// not know it and does not have the whole stream, the search that goes on.
func (s *Server) lookUp(ctx context.Context, id string) (found []streamreader.Message, running *search, err error) {
	found, complete, err := s.indexed(ctx, id)
	if err == nil && len(found) == 0 {
		// What was stored a moment ago may be on its way to the index.
		catchUp, cancel := context.WithTimeout(ctx, catchUpPatience)
		defer cancel()
		if err := s.feed.CatchUp(catchUp); err != nil {
			return nil, nil, s.orAway(fmt.Errorf("whether there is an event of %s is not known: %w", id, err))
		}
		found, complete, err = s.indexed(ctx, id)
	}
	if err != nil || len(found) > 0 || complete {
		return found, nil, err
	}
	running = s.searches.start(s, id)
	running.wait(ctx, searchPatience)
	if sequence := running.sequence(); sequence != 0 {
		m, err := s.message(ctx, s.cfg.Stream.Name, sequence)
		if err == nil {
			found = append(found, m)
		} else if !errors.Is(err, errGone) {
			return nil, nil, err
		}
	}
	return found, running, nil
}

// indexed returns the events of a task that the index knows, the newest first, and whether there
// are no others.
func (s *Server) indexed(ctx context.Context, id string) (found []streamreader.Message, complete bool, err error) {
	sequences, complete := s.feed.Find(id)
	for _, sequence := range sequences {
		m, err := s.message(ctx, s.cfg.Stream.Name, sequence)
		switch {
		case errors.Is(err, errGone):
		case err != nil:
			return nil, false, err
		case m.Err == nil && m.Event.ID == id:
			found = append(found, m)
		}
	}
	return found, complete, nil
}

// taskView gathers what is known of a task besides its events. known says that there is
// anything.
func (s *Server) taskView(ctx context.Context, id string, found []streamreader.Message) (v *taskView, known bool) {
	v = &taskView{ID: id}
	outstanding, err := s.outstanding(ctx, id)
	if err != nil {
		v.Unknown = append(v.Unknown, "Whether it is announced is not known: "+text.Line(err.Error())+".")
	}
	s.addDeliveries(ctx, v, found)
	s.addArchive(ctx, v)
	if len(found) == 0 && len(v.Deliveries) == 0 && outstanding == nil && v.Archive == nil {
		return v, false
	}
	if outstanding != nil {
		v.State, v.Summary = "expected", "It is announced, and its webhook has not come."
		v.Timeline = append(v.Timeline, step{Name: "announced", At: outstanding.Announced})
		v.Facts = append(v.Facts, fact{Name: "asked for", Value: asked(*outstanding)})
		if outstanding.LastAnswer != "" {
			v.Facts = append(v.Facts, fact{Name: "last answer", Value: text.Line(outstanding.LastAnswer)})
		}
		v.Timeline = append(v.Timeline, step{Name: "asked for next", At: outstanding.Next, Future: true})
		v.addAttributes(outstanding.Attributes)
		v.Facts = append(v.Facts, fact{Name: "model", Value: text.Line(outstanding.Model)})
	}
	v.Commands = []string{"apixo-relay tail --from-seq 1 --to-seq " + digits(s.feed.Status().Events.Last) + " --task " + id}
	switch {
	case len(found) > 0:
		s.addEvent(v, found[0])
	case outstanding != nil:
	case v.Archive != nil:
		v.State, v.Summary = "unknown", "No event is stored for it any more; its files are in the archive."
	default:
		v.State, v.Summary = "unknown", "No event is stored for it; what came is listed below."
	}
	if v.Archive != nil {
		v.Commands = append(v.Commands, fetchCommand(id))
		v.Timeline = append(v.Timeline, v.Archive.steps()...)
		slices.SortStableFunc(v.Timeline, func(a, b step) int { return a.At.Compare(b.At) })
	}
	return v, true
}

// addEvent adds what the event of a task tells.
func (s *Server) addEvent(v *taskView, m streamreader.Message) {
	e := m.Event
	v.State, v.Summary = kindOf(m), ""
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(e.JSONFormat()) // what was decoded can be written
	v.JSON = text.Printable(b.String())
	task, err := e.Task()
	if err != nil {
		v.Summary = "Its data cannot be read: " + err.Error()
	}
	add := func(name, value string) {
		if value != "" {
			v.Facts = append(v.Facts, fact{Name: name, Value: value})
		}
	}
	add("stream", fmt.Sprintf("%s, sequence %d", s.cfg.Stream.Name, m.Sequence))
	add("subject", text.Line(m.Subject))
	add("model", text.Line(e.Model()))
	if task.CostTime > 0 {
		add("took", text.Duration(task.CostTime))
	}
	add("fail code", text.Line(task.FailCode))
	add("fail message", shorten(task.FailMsg))
	add("normalized", strings.Join(e.Normalized(), ", "))
	add("verified", e.Verified())
	switch recovered := m.Header.Get(schema.HeaderRecovered); recovered {
	case "":
	case "backfill":
		add("recovered", "its webhook did not come; backfill stored the result that the status API told")
	default:
		add("recovered", "its webhook did not come; the relay stored the result that the status API told")
	}
	v.addAttributes(e.Extensions)
	if task.FailCode != "" || task.FailMsg != "" {
		v.Summary = shorten(strings.TrimSpace(task.FailCode + " " + task.FailMsg))
	}
	v.Timeline = append(timeline(task, m.Stored, time.Now()), v.Timeline...)
	if task.State == schema.StateSuccess && !task.CompleteTime.IsZero() && time.Since(task.CompleteTime) > schema.AddressLife {
		v.Expired = "APIXO deletes what it has made after 24 hours, so the addresses may be dead."
	}
	v.Commands = []string{
		fmt.Sprintf("apixo-relay tail --from-seq %d --to-seq %[1]d --output json", m.Sequence),
		fmt.Sprintf("apixo-relay replay --from-seq %d --to-seq %[1]d --to -", m.Sequence),
		fmt.Sprintf("nats stream get %s %d", s.cfg.Stream.Name, m.Sequence),
	}
}

// addArchive adds what the archive has of a task.
func (s *Server) addArchive(ctx context.Context, v *taskView) {
	t, note, err := s.archived(ctx, v.ID)
	if err != nil {
		v.Unknown = append(v.Unknown, "What the archive has of it is not known: "+text.Line(err.Error())+".")
	}
	v.Archive, v.ArchiveNote = s.archiveView(ctx, t), note
}

// addAttributes adds what the callback URL brought.
func (v *taskView) addAttributes(extensions map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(extensions)) {
		switch name {
		case "reason", "detail", "normalized", "verified":
		default:
			v.Attributes = append(v.Attributes, fact{Name: text.Line(name), Value: text.Line(extensions[name])})
		}
	}
}

// addDeliveries adds what else came about a task: copies of its event, and what is quarantined.
func (s *Server) addDeliveries(ctx context.Context, v *taskView, found []streamreader.Message) {
	for _, m := range found[min(1, len(found)):] {
		v.Deliveries = append(v.Deliveries, delivery{Stored: m.Stored, Link: "/events?before=" + digits(m.Sequence+1), Name: "event at sequence " + digits(m.Sequence), Detail: "an earlier copy"})
	}
	for _, sequence := range s.feed.Quarantined(v.ID) {
		if len(v.Deliveries) == maxDeliveries {
			return
		}
		m, err := s.message(ctx, s.cfg.Stream.Quarantine, sequence)
		switch {
		case errors.Is(err, errGone), err == nil && feed.AboutTask(m) != v.ID:
			continue
		case err != nil:
			v.Unknown = append(v.Unknown, "What else came about it is not known: "+text.Line(err.Error())+".")
			return
		}
		v.Deliveries = append(v.Deliveries, delivery{Stored: m.Stored, Link: quarantinePath(sequence), Name: kindAndReason(m), Detail: s.item(m).Detail})
	}
}

// outstanding is the announcement of a task that has not ended; nil if there is none.
func (s *Server) outstanding(ctx context.Context, id string) (*expect.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, announcementTimeout)
	defer cancel()
	return s.expect.Get(ctx, id)
}

// asked words how often a task was asked for.
func asked(t expect.Task) string {
	switch t.Asked {
	case 0:
		return "not yet"
	case 1:
		return "once"
	}
	return text.Count(t.Asked) + " times"
}

// isTaskMessage reports whether a message, by its headers, is the event of a task.
func isTaskMessage(m streamreader.Message, id string) bool {
	return event.TaskIDOf(m.Header.Get("Nats-Msg-Id")) == id
}
