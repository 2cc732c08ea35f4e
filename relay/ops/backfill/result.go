package backfill

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

// What can become of a task.
const (
	// Stored: its event is in the stream now. WouldStore is that of a dry run.
	Stored     = "stored"
	WouldStore = "would-store"
	// Already: it was there.
	Already = "already"
	// Conflict: another outcome of it was there, and what the API tells is kept in
	// the quarantine.
	Conflict = "conflict"
	// Pending: it has not ended; its webhook is still to come.
	Pending = "pending"
	// Unknown: the API knows no such task.
	Unknown = "unknown"
	// Failed: it is not stored, and Error says why.
	Failed = "failed"
)

// Result is the result of one task.
type Result struct {
	TaskID string `json:"taskId"`
	Model  string `json:"model"`
	// Result is one of the words above.
	Result string `json:"result"`
	// State is the task's, as the API tells it; empty if it was not asked, or told none.
	State string `json:"state,omitempty"`
	// Stream and Sequence are where its event is, if it is stored.
	Stream   string `json:"stream,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	// Error is why it is unknown or failed, in one line without secrets.
	Error string `json:"error,omitempty"`
}

// Summary counts the results of all tasks.
type Summary struct {
	Tasks      int `json:"tasks"`
	Stored     int `json:"stored"`
	WouldStore int `json:"wouldStore"`
	Already    int `json:"already"`
	Conflict   int `json:"conflict"`
	Pending    int `json:"pending"`
	Unknown    int `json:"unknown"`
	Failed     int `json:"failed"`
	// NotAsked are those that a run which was stopped did not come to.
	NotAsked int `json:"notAsked"`
	// Requests is how often the API was asked, and Seconds how long all took.
	Requests int64   `json:"requests"`
	Seconds  float64 `json:"seconds"`
}

// Done returns the number of tasks with a result.
func (s *Summary) Done() int { return s.Tasks - s.NotAsked }

func (s *Summary) count(result string) {
	s.NotAsked--
	switch result {
	case Stored:
		s.Stored++
	case WouldStore:
		s.WouldStore++
	case Already:
		s.Already++
	case Conflict:
		s.Conflict++
	case Pending:
		s.Pending++
	case Unknown:
		s.Unknown++
	default:
		s.Failed++
	}
}

// Printer writes results, a line for each.
type Printer struct {
	w              io.Writer
	word, id, name int // widths of the columns, in characters
	color          bool
}

// maxColumn bounds a column: who has longer names does without alignment.
const maxColumn = 40

// NewPrinter returns a Printer for the results of these tasks; dryRun as in Options.
func NewPrinter(w io.Writer, tasks *tasklist.List, dryRun, color bool) *Printer {
	p := &Printer{w: w, word: len(Conflict), color: color}
	if dryRun {
		p.word = len(WouldStore)
	}
	for i := range tasks.Len() {
		p.id = max(p.id, min(len(tasks.At(i).ID), maxColumn))
	}
	for model := range tasks.Models() {
		p.name = max(p.name, min(len(model), maxColumn))
	}
	return p
}

// Text writes a result for a person.
func (p *Printer) Text(r Result) error {
	color, rest := text.Red, r.Error
	switch r.Result {
	case Stored, WouldStore:
		color = text.Green
	case Already:
		color = text.Faint
	case Pending:
		color, rest = text.Yellow, "its webhook is still to come"
	case Conflict:
		color = text.Yellow
	}
	if r.Sequence > 0 {
		rest = fmt.Sprintf("sequence %d of %s", r.Sequence, r.Stream)
		if r.Result == Conflict {
			rest += " tells another outcome; this one is kept in the quarantine"
		}
	}
	word := text.Paint(p.color, color, fmt.Sprintf("%-*s", p.word, r.Result))
	line := fmt.Sprintf("%s  %-*s  %-*s  %-*s  %s", word, p.id, r.TaskID, p.name, r.Model, len("processing"), r.State, rest)
	_, err := io.WriteString(p.w, strings.TrimRight(line, " ")+"\n")
	return err
}

// JSON writes a result for a program.
func (p *Printer) JSON(r Result) error { return text.WriteJSON(p.w, r) }

// WriteText writes the summary for a person.
func (s *Summary) WriteText(w io.Writer) error {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{s.Stored, "stored"}, {s.WouldStore, "would be stored"}, {s.Already, "stored already"}, {s.Conflict, "in conflict with what is stored"},
		{s.Pending, "pending"}, {s.Unknown, "unknown"}, {s.Failed, "failed"}, {s.NotAsked, "not asked"},
	} {
		if part.n > 0 {
			parts = append(parts, text.Count(part.n)+" "+part.what)
		}
	}
	_, err := fmt.Fprintf(w, "\ntasks     %s: %s\nrequests  %s in %s\n", text.Count(s.Tasks), strings.Join(parts, ", "),
		text.Count(s.Requests), text.Duration(time.Duration(s.Seconds*float64(time.Second))))
	return err
}

// WriteJSON writes the summary for a program.
func (s *Summary) WriteJSON(w io.Writer) error {
	return text.WriteJSON(w, map[string]*Summary{"summary": s})
}
