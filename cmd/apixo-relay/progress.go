package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/apixo-relay/apixo-relay/relay/ops/text"
)

const (
	// drawEvery is how often a bar is drawn, and barWidth how many characters it has.
	drawEvery = 200 * time.Millisecond
	barWidth  = 24
	// rateSpan is over how long the rate is taken: long enough to be steady, and
	// short enough that a pause is seen.
	rateSpan = 10 * time.Second
)

// progress is a bar on standard error, with the rate and the time that is left;
// nothing where that is no terminal. Its methods may be called by many goroutines,
// and on nil.
//
// A library for this would be a tenth of what all commands weigh.
type progress struct {
	w    *os.File
	unit string

	mu     sync.Mutex
	total  int // 0 or less if it is not known
	n      int
	doing  string
	past   []moments // of the last rateSpan
	drawn  bool
	ticker *time.Ticker
	once   sync.Once
	stop   chan struct{}
	done   sync.WaitGroup
}

// moments are how many were done when.
type moments struct {
	at time.Time
	n  int
}

// newProgress begins a bar of so many things; 0 or less if their number is not known.
func newProgress(stderr io.Writer, total int, unit, doing string) *progress {
	if !isTerminal(stderr) {
		return nil
	}
	p := &progress{
		w: stderr.(*os.File), unit: unit, total: total, doing: doing,
		past: []moments{{time.Now(), 0}}, ticker: time.NewTicker(drawEvery), stop: make(chan struct{}),
	}
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
	p.n, p.doing = n, doing
}

// of says how many are done of how many.
func (p *progress) of(n, total int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n, p.total = n, total
}

// describe says what is being done while their number stays.
func (p *progress) describe(doing string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doing = doing
}

// aside takes the bar away while something else is written, and returns its error.
// The bar comes again soon.
func (p *progress) aside(write func() error) error {
	if p == nil {
		return write()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
	return write()
}

// end takes the bar away for good.
func (p *progress) end() {
	if p == nil {
		return
	}
	p.once.Do(func() { close(p.stop) })
	p.done.Wait()
	p.ticker.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
}

func (p *progress) refresh() {
	for {
		select {
		case now := <-p.ticker.C:
			p.draw(now)
		case <-p.stop:
			return
		}
	}
}

// What a terminal makes of a bar is no reason to stop working: its errors are not
// looked at.

func (p *progress) wipe() {
	if p.drawn {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *progress) draw(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.past = append(p.past, moments{now, p.n})
	for len(p.past) > 2 && now.Sub(p.past[1].at) > rateSpan {
		p.past = p.past[1:]
	}
	line := p.line(now, barWidth)
	if width, _, err := term.GetSize(int(p.w.Fd())); err == nil && width > 0 {
		// A line that wraps could not be taken away, so the bar gives way, and then words.
		over := len([]rune(line)) - (width - 1)
		if over > 0 {
			line = p.line(now, max(barWidth-over, 0))
		}
		line = string([]rune(line)[:min(len([]rune(line)), width-1)])
	}
	p.wipe()
	_, _ = io.WriteString(p.w, line)
	p.drawn = true
}

// line is what the bar looks like now, at so many characters.
func (p *progress) line(now time.Time, wide int) string {
	oldest := p.past[0]
	rate := float64(p.n-oldest.n) / max(now.Sub(oldest.at).Seconds(), 1e-3)
	if p.total <= 0 {
		return fmt.Sprintf("%s  %s %s, %s a second", p.doing, text.Count(p.n), p.unit, text.Number(rate))
	}
	full := min(wide*p.n/p.total, wide)
	line := fmt.Sprintf("%s  %s%s  %s of %s %s, %s a second", p.doing, strings.Repeat("█", full), strings.Repeat("░", wide-full),
		text.Count(p.n), text.Count(p.total), p.unit, text.Number(rate))
	if left := p.total - p.n; rate > 0 && left > 0 {
		line += fmt.Sprintf(", %s left", max(time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second), time.Second))
	}
	return line
}
