// Package tail prints the messages of a stream for a person, at a readable pace, or for a
// program. It must not know where the messages come from.
package tail

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// shownRate and shownBurst are how many messages a person is shown in a second,
	// in the long run and at once; each of them for successes and for all others, so
	// that failures do not drown.
	shownRate  = 4
	shownBurst = 20
	// suppressInterval is the time between two lines that count suppressed messages.
	suppressInterval = time.Second
)

// ThrottledPrinter prints messages on a terminal as they come. If more come than a person can
// read, it prints some of them, each on one line, and every second a line with the number of
// suppressed ones. It may be used by many goroutines.
type ThrottledPrinter struct {
	w     io.Writer
	color bool
	since time.Time

	mu              sync.Mutex
	err             error // of a line that summed up
	success, others *rate.Limiter
	suppressed      map[string]int // by the word that a line has for it
	timer           *time.Timer    // runs while something is folded
	quiet           time.Time      // when there was nothing folded for a while
}

// NewThrottledPrinter returns a printer to w, with or without colors. Messages that were stored
// before since are never suppressed: the user asked for this history.
func NewThrottledPrinter(w io.Writer, color bool, since time.Time) *ThrottledPrinter {
	return &ThrottledPrinter{
		w: w, color: color, since: since, suppressed: make(map[string]int),
		success: rate.NewLimiter(shownRate, shownBurst), others: rate.NewLimiter(shownRate, shownBurst),
	}
}

// Print prints a message, or suppresses and counts it. The error is the writer's.
func (s *ThrottledPrinter) Print(m streamreader.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case m.Stored.Before(s.since):
		return Text(s.w, m, s.color)
	}
	limiter := s.others
	if m.Event.Type == schema.TypeTaskSuccess {
		limiter = s.success
	}
	now := time.Now()
	if !limiter.AllowN(now, 1) {
		s.suppressed[word(m)]++
		s.quiet = now.Add(2 * suppressInterval)
		if s.timer == nil {
			s.timer = time.AfterFunc(suppressInterval, s.flushSuppressed)
		}
		return nil
	}
	if now.Before(s.quiet) {
		return line(s.w, m, s.color)
	}
	return Text(s.w, m, s.color)
}

// Close prints the number of messages that are suppressed and not reported yet.
func (s *ThrottledPrinter) Close() error {
	s.flushSuppressed()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// flushSuppressed writes the line about what was not shown.
func (s *ThrottledPrinter) flushSuppressed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer == nil || s.err != nil {
		return
	}
	s.timer.Stop()
	s.timer = nil
	total := 0
	var parts []string
	for _, word := range words {
		if n := s.suppressed[word]; n > 0 {
			total += n
			parts = append(parts, text.Count(n)+" "+word)
		}
	}
	clear(s.suppressed)
	_, s.err = fmt.Fprintf(s.w, "%s\n", text.Paint(s.color, text.Faint, fmt.Sprintf("%19s %6s  … and %s more: %s", "", "", text.Count(total), strings.Join(parts, ", "))))
}
