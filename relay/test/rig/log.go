package rig

import (
	"bytes"
	"errors"
	"sync"
)

// logReader reads what a process writes. What reads it can stall, and end.
type logReader struct {
	reading sync.Mutex // held while nothing is to be read
	closed  bool
}

// PauseLog stops reading what the process writes, until the function that it returns
// is called.
func (p *Process) PauseLog() (resume func()) {
	p.log.reading.Lock()
	return p.log.reading.Unlock
}

// CloseLog ends the reader of what the process writes, standard output too, with the
// next that it writes: whatever follows meets a broken pipe.
func (p *Process) CloseLog() {
	p.log.reading.Lock()
	defer p.log.reading.Unlock()
	p.log.closed = true
}

// Ended reports whether the process has, even if what it wrote has not been read.
func (p *Process) Ended() bool { return p.Signal(nothing) != nil }

var errLogClosed = errors.New("the reader of the log has ended")

// logWriter takes what a process writes.
type logWriter Process

// Write splits the text into lines.
func (w *logWriter) Write(text []byte) (int, error) {
	w.log.reading.Lock()
	defer w.log.reading.Unlock()
	if w.log.closed {
		return 0, errLogClosed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, text...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			break
		}
		w.lines = append(w.lines, string(line))
		w.rest = rest
	}
	close(w.change)
	w.change = make(chan struct{})
	return len(text), nil
}
