package archive

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// What can become of a task.
const (
	// ResultArchived: all its files are in the archive, or it has none.
	ResultArchived = "archived"
	// ResultFailed: some of them are not, and will not be.
	ResultFailed = "failed"
	// ResultLeft: some of them could not be had, and are left for another run.
	ResultLeft = "left"
)

// Result is what became of the files of a task.
type Result struct {
	TaskID string `json:"taskId"`
	// Result is one of the words above.
	Result string `json:"result"`
	// Files are how many of them are in the archive, and Bytes their size.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// New is how many of them were stored now, and NewBytes their size: the others were there.
	New      int   `json:"new"`
	NewBytes int64 `json:"newBytes"`
	// Failures are those that are not.
	Failures []schema.ArchiveFailure `json:"failures,omitempty"`
	// Error is why a task is left, in one line without secrets.
	Error string `json:"error,omitempty"`
}

func (o *outcome) result(m *message) Result {
	r := Result{TaskID: m.task.ID, Result: ResultArchived, Files: len(o.Files), New: o.stored, NewBytes: o.bytes, Failures: o.Failures}
	for _, f := range o.Files {
		r.Bytes += f.Bytes
	}
	if len(o.Failures) > 0 {
		r.Result = ResultFailed
	}
	return r
}

// Summary counts the results of a run.
type Summary struct {
	// Archived, Failed and Left are tasks.
	Archived int `json:"archived"`
	Failed   int `json:"failed"`
	Left     int `json:"left"`
	// Files and Bytes are what was stored, There how many files were there already, and
	// FailedFiles how many cannot be had.
	Files       int   `json:"files"`
	Bytes       int64 `json:"bytes"`
	There       int   `json:"there"`
	FailedFiles int   `json:"failedFiles"`
	// Retries is how often a task was tried again, and DeadLetters how many events became one.
	Retries     int `json:"retries"`
	DeadLetters int `json:"deadLetters"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
}

func (s *Summary) count(r Result) {
	switch r.Result {
	case ResultArchived:
		s.Archived++
	case ResultFailed:
		s.Failed++
	case ResultLeft:
		s.Left++
		return // it is counted when it is done
	}
	s.Files += r.New
	s.Bytes += r.NewBytes
	s.There += r.Files - r.New
	s.FailedFiles += len(r.Failures)
}

// Tasks returns the number of tasks with a result.
func (s *Summary) Tasks() int { return s.Archived + s.Failed + s.Left }

// WriteText writes the summary for a person.
func (s *Summary) WriteText(w io.Writer) error {
	list := func(parts ...string) string {
		var some []string
		for i := 0; i < len(parts); i += 2 {
			if parts[i] != "0" {
				some = append(some, parts[i]+" "+parts[i+1])
			}
		}
		if len(some) == 0 {
			return "none"
		}
		return strings.Join(some, ", ")
	}
	_, err := fmt.Fprintf(w, "\ntasks  %s\nfiles  %s\nstored %s in %s\n",
		list(text.Count(s.Archived), "archived", text.Count(s.Failed), "failed", text.Count(s.Left), "left for another run", text.Count(s.DeadLetters), "dead letters", text.Count(s.Retries), "tries more"),
		list(text.Count(s.Files), "stored", text.Count(s.There), "there already", text.Count(s.FailedFiles), "not to be had"),
		humanize.IBytes(uint64(s.Bytes)), text.Duration(time.Duration(s.Seconds*float64(time.Second))))
	return err
}

// WriteJSON writes the summary for a program.
func (s *Summary) WriteJSON(w io.Writer) error {
	return text.WriteJSON(w, map[string]*Summary{"summary": s})
}

// Printer writes results, a line for each.
type Printer struct {
	w     io.Writer
	color bool
}

// NewPrinter returns a Printer, with colors if they are wanted.
func NewPrinter(w io.Writer, color bool) *Printer { return &Printer{w, color} }

// Text writes a result for a person, with a line for each failure.
func (p *Printer) Text(r Result) error {
	color, rest := text.Green, fmt.Sprintf("%d files, %s", r.Files, humanize.IBytes(uint64(r.Bytes)))
	switch {
	case r.Result == ResultLeft:
		color, rest = text.Yellow, r.Error
	case r.Result == ResultFailed:
		color = text.Red
	case r.Files == 0:
		rest = "no addresses in the result"
	case r.Files == 1:
		rest = "1 file, " + humanize.IBytes(uint64(r.Bytes))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s\n", text.Paint(p.color, color, fmt.Sprintf("%-*s", len(ResultArchived), r.Result)), r.TaskID, rest)
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "%*s  %s: %s\n", len(ResultArchived), "", f.Reason, f.Detail)
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// JSON writes a result for a program.
func (p *Printer) JSON(r Result) error { return text.WriteJSON(p.w, r) }
