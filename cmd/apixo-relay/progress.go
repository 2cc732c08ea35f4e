package main

import (
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// redrawEvery is how often a bar is drawn: it comes again when a line has been printed,
// and its rate falls while nothing is done.
const redrawEvery = 200 * time.Millisecond

// progress is a bar on standard error, or nil where that is no terminal. Its methods
// may be called by many goroutines, and on nil.
type progress struct {
	once    sync.Once
	stopped chan struct{}
	done    sync.WaitGroup

	mu  sync.Mutex // also held while a line is printed beside the bar
	bar *progressbar.ProgressBar
}

// newProgress begins a bar, which the caller ends, of so many things; -1 if their number
// is not known yet.
func newProgress(stderr io.Writer, total int, unit, doing string) *progress {
	if !isTerminal(stderr) {
		return nil
	}
	p := &progress{stopped: make(chan struct{}), bar: progressbar.NewOptions(total,
		progressbar.OptionSetWriter(stderr), progressbar.OptionSetDescription(doing), progressbar.OptionSetItsString(unit),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetWidth(24),
		progressbar.OptionThrottle(redrawEvery/2), progressbar.OptionUseANSICodes(true), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetSpinnerChangeInterval(0), // else a spinner has a goroutine that nobody can end
	)}
	p.done.Go(p.redraw)
	return p
}

// What a terminal makes of a bar is no reason to stop working: its errors are ignored.

func (p *progress) redraw() {
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.mu.Lock()
			_ = p.bar.Add(0)
			p.mu.Unlock()
		case <-p.stopped:
			return
		}
	}
}

// set says how many are done of how many.
func (p *progress) set(n, total int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if total != p.bar.GetMax() {
		p.bar.ChangeMax(total)
	}
	_ = p.bar.Set(n)
}

// describe says what is being done.
func (p *progress) describe(doing string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bar.Describe(doing)
}

// suspend returns a writer to w, for whole lines, that takes the bar away for each write.
// The bar comes again soon.
func (p *progress) suspend(w io.Writer) io.Writer {
	if p == nil {
		return w
	}
	return writer(func(line []byte) (int, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = p.bar.Clear()
		return w.Write(line)
	})
}

// writer is an io.Writer of one function.
type writer func([]byte) (int, error)

// Write implements io.Writer.
func (f writer) Write(p []byte) (int, error) { return f(p) }

// end takes the bar away for good. It may be called more than once.
func (p *progress) end() {
	if p == nil {
		return
	}
	p.once.Do(func() { close(p.stopped) })
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.bar.Clear()
}
