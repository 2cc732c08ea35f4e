package natstest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// Log is what is logged in a test. It may be written and read at once.
type Log struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	written chan struct{} // closed with the next line, where somebody waits for it
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written != nil {
		close(l.written)
		l.written = nil
	}
	return l.buf.Write(p)
}

// String is all that has been written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Await waits until a text has been written, and fails the test after two minutes.
func (l *Log) Await(t testing.TB, text string) {
	t.Helper()
	late := time.After(2 * time.Minute)
	for {
		l.mu.Lock()
		found := bytes.Contains(l.buf.Bytes(), []byte(text))
		if l.written == nil {
			l.written = make(chan struct{})
		}
		written := l.written
		l.mu.Unlock()
		if found {
			return
		}
		select {
		case <-written:
		case <-late:
			t.Fatalf("the log never says %q:\n%s", text, l)
		}
	}
}
