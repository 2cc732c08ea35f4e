package main

import (
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar on standard error, with the rate and the time that is left;
// nothing where that is no terminal. Its methods may be called by many goroutines,
// and on nil.
type progress struct {
	mu   sync.Mutex // clearing is not safe beside drawing
	bar  *progressbar.ProgressBar
	stop chan struct{}
	done sync.WaitGroup
}

// newProgress begins a bar of so many things; -1 if their number is not known.
func newProgress(stderr io.Writer, total int, unit, doing string) *progress {
	if !isTerminal(stderr) {
		return nil
	}
	p := &progress{bar: progressbar.NewOptions(total,
		progressbar.OptionSetWriter(stderr),
		progressbar.OptionSetDescription(doing),
		progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString(unit),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	), stop: make(chan struct{})}
	p.done.Go(p.refresh)
	return p
}

// set says how many are done, and what is being done.
func (p *progress) set(n int, doing string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bar.Describe(doing) // first, since it is drawn with the number
	// What a terminal makes of a bar is no reason to stop working.
	_ = p.bar.Set(n)
}

// describe says what is being done while their number stays.
func (p *progress) describe(doing string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bar.Describe(doing)
}

// refresh draws the bar now and then. What happens alone would leave an old one
// there while all that is left to do is wait.
func (p *progress) refresh() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.mu.Lock()
			_ = p.bar.Add(0)
			p.mu.Unlock()
		case <-p.stop:
			return
		}
	}
}

// clear takes the bar away for something else to be written; it comes again with
// the next set.
func (p *progress) clear() {
	_ = p.aside(func() error { return nil })
}

// aside takes the bar away while something else is written, and returns its error.
func (p *progress) aside(write func() error) error {
	if p == nil {
		return write()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.bar.Clear()
	return write()
}

// end takes the bar away for good.
func (p *progress) end() {
	if p == nil {
		return
	}
	close(p.stop)
	p.done.Wait()
	_ = p.bar.Clear()
}
