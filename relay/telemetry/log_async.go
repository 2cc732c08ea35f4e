package telemetry

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"time"
)

const (
	// logBufferBytes bounds what waits to be written. It bridges a reader that pauses
	// for 20 s while an account's 170 tasks a second arrive, at 300 bytes a line, and
	// is small beside the rest of the program's memory.
	logBufferBytes = 1 << 20
	// logKeepBytes bounds the buffers that are kept after a burst.
	logKeepBytes = 64 << 10
	// logRetry is how soon a failed write is tried again.
	logRetry = 100 * time.Millisecond
	// logStall is how long one write may take before the output counts as stalled.
	logStall = time.Second
	// logFlush bounds how long Close waits for the output.
	logFlush = time.Second
)

// AsyncWriter passes lines on to an output, from a goroutine of its own: Write never waits,
// whatever the output does. Lines keep their order. Lines that come during one write share
// the next.
//
// Up to 1 MiB waits while the output is slow or fails for a while, for example on a full
// disk. Lines that do not fit are dropped, and so are lines that meet a broken pipe. Dropped
// lines are counted. When the output works again, a line in their place says how many are
// missing, and since when.
type AsyncWriter struct {
	out     io.Writer
	notice  func(gap) []byte
	onStall func(stalled bool)

	mu      sync.Mutex
	wake    sync.Cond // the goroutine, while it is idle
	idle    bool
	closed  bool
	pending []byte // whole lines that no write has taken
	writing int    // bytes of those that one has
	before  gap    // lines that are missing before what is pending
	after   gap    // those that are missing behind it, and all that come until it is taken
	dropped uint64
	broken  bool   // the last write was given up: the next one waits for a line
	writes  uint64 // how many have begun
	watched bool   // a timer looks whether a write stalls
	stalled bool
	// told are those who wait for the end of what is pending, and taken for that of what is
	// being written; room is closed when there may be room. See [AsyncWriter.Sync].
	told, taken []chan<- error
	room        chan struct{}

	closing chan struct{} // closed by Close
	done    chan struct{} // closed when nothing more is written
}

// gap is a number of lines that are missing in the output.
type gap struct {
	lines uint64
	since time.Time
}

func (g *gap) add(lines uint64, since time.Time) {
	if g.lines == 0 {
		g.since = since
	}
	g.lines += lines
}

// NewAsyncWriter starts a writer of lines in that format. The caller closes it.
func NewAsyncWriter(out io.Writer, format Format) *AsyncWriter {
	w := &AsyncWriter{out: out, closing: make(chan struct{}), done: make(chan struct{})}
	w.wake.L = &w.mu
	w.notice = func(g gap) []byte {
		var line bytes.Buffer
		NewLogger(&line, format, slog.LevelWarn).Warn("log lines are missing here: the log's reader was too slow, or gone", "dropped", g.lines, "since", g.since)
		return line.Bytes()
	}
	go w.run()
	return w
}

// OnStall has changed called when one write has taken a second, and again when that write has
// ended. It must be called before the first Write. The function must not block.
func (w *AsyncWriter) OnStall(changed func(stalled bool)) { w.onStall = changed }

// Write implements io.Writer for whole lines. It copies them, and never returns an error.
func (w *AsyncWriter) Write(lines []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.after.lines > 0 || w.writing+len(w.pending)+len(lines) > logBufferBytes {
		w.drop(&w.after, lines, time.Now())
	} else {
		w.pending = append(w.pending, lines...)
	}
	if w.idle {
		w.idle = false
		w.wake.Signal()
	}
	return len(lines), nil
}

// drop counts lines as missing.
func (w *AsyncWriter) drop(g *gap, lines []byte, since time.Time) {
	n := uint64(bytes.Count(lines, []byte("\n")))
	g.add(n, since)
	w.dropped += n
}

// Dropped returns the number of lines that are missing in the output.
func (w *AsyncWriter) Dropped() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Close writes the pending lines, for a second at the most. Later lines are dropped. Close
// never returns an error, and may be called more than once.
func (w *AsyncWriter) Close() error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.closing)
		w.wake.Signal()
	}
	w.mu.Unlock()
	timeout := time.NewTimer(logFlush)
	defer timeout.Stop()
	select {
	case <-w.done:
	case <-timeout.C:
	}
	return nil
}

// run writes until Close.
func (w *AsyncWriter) run() {
	defer close(w.done)
	var batch []byte
	for {
		var told gap
		var ok bool
		if batch, told, ok = w.take(batch); !ok {
			return
		}
		head := 0
		if told.lines > 0 {
			notice := w.notice(told)
			head = len(notice)
			batch = append(notice, batch...)
		}
		rest := w.write(batch)
		w.wrote(rest, len(batch)-len(rest) < head, told)
	}
}

// take waits for lines, and returns them with the gap that is before them. The last
// batch comes back as the next buffer. Not ok means that there is nothing more.
func (w *AsyncWriter) take(last []byte) (batch []byte, told gap, ok bool) {
	if cap(last) > logKeepBytes {
		last = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) == 0 && (w.before.lines == 0 || w.broken) {
		if w.after.lines > 0 { // behind nothing that is pending, and so before what comes
			w.before.add(w.after.lines, w.after.since)
			w.after = gap{}
			continue
		}
		if w.closed {
			return nil, gap{}, false
		}
		w.idle = true
		w.wake.Wait()
	}
	w.idle = false
	batch, w.pending = w.pending, last[:0]
	told, w.before, w.after = w.before, w.after, gap{}
	w.taken, w.told = w.told, nil
	w.writing = len(batch)
	w.writes++
	if w.onStall != nil && !w.watched {
		w.watched = true
		w.watch(w.writes)
	}
	return batch, told, true
}

// write hands lines to the output, and tries again what fails. It returns what it has
// given up.
func (w *AsyncWriter) write(lines []byte) (rest []byte) {
	for {
		n, err := w.out.Write(lines)
		lines = lines[n:]
		if len(lines) == 0 || errors.Is(err, syscall.EPIPE) {
			return lines
		}
		retry := time.NewTimer(logRetry)
		select {
		case <-retry.C:
		case <-w.closing:
			retry.Stop()
			return lines
		}
	}
}

// wrote notes the end of a write, and counts the rest that it has given up. If that
// begins within the line about an earlier gap, which is not one of those that were
// logged, the gap is still to be told.
func (w *AsyncWriter) wrote(rest []byte, untold bool, told gap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = 0
	if w.stalled {
		w.stalled = false
		w.onStall(false)
	}
	if w.broken = len(rest) > 0; !w.broken {
		w.settle(nil)
		return
	}
	w.settle(errLogGone)
	behind := w.before
	w.before = gap{}
	if untold {
		w.before = told
		_, rest, _ = bytes.Cut(rest, []byte("\n"))
	}
	w.drop(&w.before, rest, time.Now())
	w.before.add(behind.lines, behind.since)
}

// watch looks once a second, while lines are written, whether one write takes all of it.
func (w *AsyncWriter) watch(write uint64) {
	time.AfterFunc(logStall, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case w.idle || w.closed:
			w.watched = false
		case w.writes == write && !w.stalled:
			w.stalled = true
			w.onStall(true)
			fallthrough
		default:
			w.watch(w.writes)
		}
	})
}
