package telemetry

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// syncWait is how long a line that has to be written waits for the log's reader.
const syncWait = 5 * time.Second

// errLogGone is returned for lines that nobody reads.
var errLogGone = errors.New("the log's reader is gone")

// Sync returns a writer to the same output, in order with the other lines. Its Write returns when
// the lines are written, however many bytes they have, or an error if that has not come to be
// within 5 s: for lines without which something must not be done. Then they may be written still.
func (w *AsyncWriter) Sync() io.Writer { return syncWriter{w} }

type syncWriter struct{ w *AsyncWriter }

// Write implements io.Writer.
func (s syncWriter) Write(lines []byte) (int, error) {
	timeout := time.NewTimer(syncWait)
	defer timeout.Stop()
	for {
		written, next, err := s.w.enqueue(lines)
		if err != nil {
			return 0, err
		}
		select {
		case err := <-written:
			if err != nil {
				return 0, err
			}
			return len(lines), nil
		case <-next:
		case <-timeout.C:
			return 0, fmt.Errorf("the log's reader has taken nothing for %s", syncWait)
		}
	}
}

// enqueue has lines written as soon as the ones before them are, and tells what came of it; where
// there is no room for them yet, next is closed when there may be. The other one is nil.
func (w *AsyncWriter) enqueue(lines []byte) (written <-chan error, next <-chan struct{}, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := w.writing + len(w.pending)
	switch {
	case w.closed:
		return nil, nil, errors.New("the log is closed")
	case w.after.lines > 0 || waiting > 0 && waiting+len(lines) > logBufferBytes:
		if w.room == nil {
			w.room = make(chan struct{})
		}
		return nil, w.room, nil
	}
	w.pending = append(w.pending, lines...)
	told := make(chan error, 1)
	w.told = append(w.told, told)
	if w.idle {
		w.idle = false
		w.wake.Signal()
	}
	return told, nil, nil
}

// settle tells those who wait for the end of a write, and those who wait for room. The lock is
// held.
func (w *AsyncWriter) settle(err error) {
	for _, told := range w.taken {
		told <- err
	}
	w.taken = nil
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
}
