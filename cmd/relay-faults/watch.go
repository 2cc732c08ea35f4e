package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/apixo-relay/apixo-relay/relay/test/faults"
)

// watcher shows the rows as they come: a line for each that has ended, and on a
// terminal what runs at the moment.
type watcher struct {
	stdout, stderr io.Writer
	terminal       bool
	width          int // of the rows' names

	mu      sync.Mutex
	running []string // "name 3/30"
	shown   bool     // the line of what runs is on the terminal
}

func newWatcher(stdout, stderr io.Writer, rows []faults.Row) *watcher {
	w := &watcher{stdout: stdout, stderr: stderr}
	if f, ok := stderr.(*os.File); ok {
		w.terminal = term.IsTerminal(int(f.Fd()))
	}
	for _, r := range rows {
		w.width = max(w.width, len(r.Name))
	}
	return w
}

// columns are those of the figures: their heads, and their widths.
var columns = []struct {
	head  string
	width int
}{{"rounds", 6}, {"sent", 9}, {"got 200", 9}, {"lost", 6}, {"twice", 5}, {"slowest", 8}, {"recovery", 8}}

func (w *watcher) heading(r *report) error {
	_, err := fmt.Fprintf(w.stdout, "apixo-relay at %s, nats-server %s, %s, %s\n%s form, seed %d\n\n%s  result\n",
		r.Commit, r.Broker, r.Go, r.Machine, r.Form, r.Seed, w.line("row", heads()))
	return err
}

func heads() []string {
	var all []string
	for _, c := range columns {
		all = append(all, c.head)
	}
	return all
}

func (w *watcher) line(name string, cells []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s", w.width, name)
	for i, cell := range cells {
		fmt.Fprintf(&b, "  %*s", columns[i].width, cell)
	}
	return b.String()
}

func (w *watcher) started(r faults.Row) { w.set(r.Name, r.Name) }

func (w *watcher) progress(r faults.Row, text string) { w.set(r.Name, r.Name+" "+text) }

// set replaces what is shown of a running row; an empty text takes it away.
func (w *watcher) set(name, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.replace(name, text)
	w.show()
}

func (w *watcher) replace(name, text string) {
	for i, running := range w.running {
		if running == name || strings.HasPrefix(running, name+" ") {
			w.running = append(w.running[:i], w.running[i+1:]...)
			break
		}
	}
	if text != "" {
		w.running = append(w.running, text)
	}
}

func (w *watcher) show() {
	w.hide()
	if w.terminal && len(w.running) > 0 {
		fmt.Fprintf(w.stderr, "… %s", strings.Join(w.running, ", "))
		w.shown = true
	}
}

func (w *watcher) hide() {
	if w.shown {
		fmt.Fprint(w.stderr, "\r\x1b[K")
		w.shown = false
	}
}

// ended writes the line of a row.
func (w *watcher) ended(r faults.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hide()
	cells := cells(r)
	cells[3] = faults.Thousands(r.Lost.Total()) // where they lie comes below
	if r.Status == faults.NotRun {
		cells = []string{"–", "–", "–", "–", "–", "–", "–"}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s", w.line(r.Row, cells), r.Status)
	if r.Took > time.Second {
		fmt.Fprintf(&b, " in %s", r.Took.Round(time.Second))
	}
	if r.Lost.Total() > 0 {
		fmt.Fprintf(&b, "; lost %s", lostText(r.Lost))
	}
	b.WriteByte('\n')
	if r.NotRun != "" {
		fmt.Fprintf(&b, "    not run: %s\n", r.NotRun)
	}
	for _, text := range r.Failures {
		fmt.Fprintf(&b, "    FAILED: %s\n", text)
	}
	for _, text := range r.Notes {
		fmt.Fprintf(&b, "    %s\n", text)
	}
	fmt.Fprint(w.stdout, b.String())
	w.replace(r.Row, "")
	w.show()
}

func (w *watcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hide()
}
