package fetch

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/catalog"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

// What can become of a file, or of a task.
const (
	// Fetched: the file is in the folder now. Kept: it was there.
	Fetched = "fetched"
	Kept    = "kept"
	// Failed: it is not there, and Error says why.
	Failed = "failed"
	// NotArchived: the archive does not have the file, and Error says why.
	NotArchived = "not-archived"
	// NoFiles: the task has no files.
	NoFiles = "no-files"
	// Unknown: the archive has told nothing of the task; Error says what there is.
	Unknown = "unknown"
)

// Result is what became of one file, or of a task of which there is none.
type Result struct {
	TaskID string `json:"taskId"`
	// Result is one of the words above.
	Result string `json:"result"`
	// Number is that of the file in the task, from 1 on; 0 where there is none.
	Number int `json:"number,omitempty"`
	// Path is where the file is in the folder, with that.
	Path string `json:"path,omitempty"`
	// URL, Location, Bytes, MediaType and SHA256 are as the archive has told them.
	URL       string `json:"url,omitempty"`
	Location  string `json:"location,omitempty"`
	Bytes     int64  `json:"bytes,omitempty"`
	MediaType string `json:"mediaType,omitempty"`
	SHA256    string `json:"sha256,omitempty"`
	// Error is in one line without secrets.
	Error string `json:"error,omitempty"`
}

func (r *Result) set(c catalog.Copy, path string) {
	r.Path, r.URL, r.Location, r.Bytes, r.MediaType, r.SHA256 = path, c.URL, c.Location, c.Bytes, c.MediaType, c.SHA256
}

func joined(problems []string) string { return strings.Join(problems, "; ") }

// Summary counts results.
type Summary struct {
	Tasks       int `json:"tasks"`
	Fetched     int `json:"fetched"`
	Kept        int `json:"kept"`
	Failed      int `json:"failed"`
	NotArchived int `json:"notArchived"`
	// NoFiles and Unknown are tasks, the others files.
	NoFiles int `json:"noFiles"`
	Unknown int `json:"unknown"`
	// Bytes is how much was fetched, Seconds how long all took.
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// Done returns how many files were worked on.
func (s *Summary) Done() int { return s.Fetched + s.Kept + s.Failed }

// Missing returns how many files or tasks are not there.
func (s *Summary) Missing() int { return s.Failed + s.NotArchived + s.Unknown }

func (s *Summary) count(r Result) {
	switch r.Result {
	case Fetched:
		s.Fetched++
		s.Bytes += r.Bytes
	case Kept:
		s.Kept++
	case NotArchived:
		s.NotArchived++
	case NoFiles:
		s.NoFiles++
	case Unknown:
		s.Unknown++
	default:
		s.Failed++
	}
}

// WriteText writes a result for a person.
func (r Result) WriteText(w io.Writer, color bool) error {
	paint, rest := text.Red, []string{r.TaskID, text.Line(r.Error)}
	switch r.Result {
	case Fetched, Kept:
		paint = text.Green
		rest = []string{text.Line(r.Path), humanize.IBytes(uint64(r.Bytes)), text.Line(r.MediaType)}
		if r.Result == Kept {
			paint = text.Faint
		}
	case NotArchived:
		paint = text.Yellow
		rest = append(rest, text.Line(r.URL))
	case NoFiles:
		paint, rest = text.Faint, []string{r.TaskID, "there are no addresses in its result"}
	}
	line := text.Paint(color, paint, fmt.Sprintf("%-*s", len(NotArchived), r.Result)) + "  " + strings.Join(rest, "  ")
	_, err := io.WriteString(w, strings.TrimRight(line, " ")+"\n")
	return err
}

// WriteText writes the summary for a person.
func (s *Summary) WriteText(w io.Writer) error {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{s.Fetched, "fetched"}, {s.Kept, "there already"}, {s.Failed, "failed"}, {s.NotArchived, "not archived"},
	} {
		if part.n > 0 {
			parts = append(parts, text.Count(part.n)+" "+part.what)
		}
	}
	if len(parts) == 0 {
		parts = []string{"none"}
	}
	unknown := ""
	if s.Unknown > 0 {
		unknown = ", " + text.Count(s.Unknown) + " of them not in the archive"
	}
	_, err := fmt.Fprintf(w, "\ntasks  %s%s\nfiles  %s\nbytes  %s in %s\n", text.Count(s.Tasks), unknown, strings.Join(parts, ", "),
		humanize.IBytes(uint64(s.Bytes)), text.Duration(time.Duration(s.Seconds*float64(time.Second))))
	return err
}

// WriteJSON writes the summary for a program.
func (s *Summary) WriteJSON(w io.Writer) error {
	return text.WriteJSON(w, map[string]*Summary{"summary": s})
}
