package telemetry

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const patience = 2 * time.Minute

// output is a pipe's reading end whose lines are read on demand.
type output struct {
	t     *testing.T
	lines *bufio.Scanner
}

// newAsync is a writer to a pipe.
func newAsync(t *testing.T) (w *AsyncWriter, out output, reader *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w = NewAsyncWriter(writer, JSON)
	t.Cleanup(func() {
		reader.Close() // so that nothing waits for it
		w.Close()
		<-w.done
		writer.Close()
	})
	return w, output{t, bufio.NewScanner(reader)}, reader
}

// next is the next line.
func (o output) next() string {
	o.t.Helper()
	if !o.lines.Scan() {
		o.t.Fatalf("the output has ended: %v", o.lines.Err())
	}
	return o.lines.Text()
}

// missing is how many lines a line says are missing; 0 if it is not about that.
func (o output) missing(line string) int {
	o.t.Helper()
	var told struct {
		Level   string
		Dropped int
		Since   time.Time
	}
	if err := json.Unmarshal([]byte(line), &told); err != nil {
		return 0
	}
	if told.Level != "WARN" || told.Since.IsZero() || time.Since(told.Since) > patience {
		o.t.Errorf("a gap is told as %s", line)
	}
	return told.Dropped
}

// Whatever nobody reads, writers do not wait; each line is in the output, in its
// order, or counted where it is missing.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	w, out, _ := newAsync(t)
	const writers, each = 8, 2000
	filler := strings.Repeat("x", 200)
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			for n := range each {
				fmt.Fprintf(w, "%d %d %s\n", i, n, filler)
			}
		})
	}
	writing.Wait()
	dropped := int(w.Dropped())
	if dropped == 0 || writers*each-dropped < logBufferBytes/210 {
		t.Fatalf("%d of %d lines were dropped", dropped, writers*each)
	}
	var last [writers]int
	read, told := 0, 0
	for told == 0 {
		line := out.next()
		if told = out.missing(line); told > 0 {
			break
		}
		var writer, n int
		if _, err := fmt.Sscan(line, &writer, &n); err != nil || n < last[writer] {
			t.Fatalf("after %d of writer %d comes %.20s (%v)", last[writer], writer, line, err)
		}
		last[writer] = n
		read++
	}
	if told != dropped || read+dropped != writers*each {
		t.Errorf("%d lines were read and %d are told missing, of %d; %d were counted", read, told, writers*each, dropped)
	}
	fmt.Fprintln(w, "afterwards")
	if line := out.next(); line != "afterwards" || int(w.Dropped()) != dropped {
		t.Errorf("afterwards comes %.50s, and %d are dropped", line, w.Dropped())
	}
}

// A broken pipe costs the lines that meet it, and ends nothing.
func TestReaderIsGone(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	sink := &answering{answer: func(b []byte) (int, error) {
		if broken.Load() {
			return len(b) / 2, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
		}
		return len(b), nil
	}}
	w := NewAsyncWriter(sink, JSON)
	for i := range 20 {
		fmt.Fprintf(w, "line %d\n", i)
		awaitDropped(t, w, uint64(i+1))
	}
	broken.Store(false)
	fmt.Fprintln(w, "back")
	w.Close()
	lines := strings.SplitAfter(sink.taken(), "\n")
	if n := len(lines); n < 3 || lines[n-2] != "back\n" || (output{t: t}).missing(lines[n-3][strings.LastIndexByte(lines[n-3], '{'):]) != 20 {
		t.Errorf("%q", lines)
	}
	if w.Dropped() != 20 {
		t.Errorf("%d lines are dropped", w.Dropped())
	}
}

// A write that fails for a while is gone on with where it stopped.
func TestOutputFailsForAWhile(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.EAGAIN, syscall.ENOSPC, syscall.EIO, nil} {
		failures := 0
		sink := &answering{answer: func(b []byte) (int, error) {
			if failures++; failures <= 3 {
				return 1, cause
			}
			return len(b), nil
		}}
		w := NewAsyncWriter(sink, JSON)
		fmt.Fprintln(w, "first")
		fmt.Fprintln(w, "second")
		sink.await(t, "second\n")
		w.Close()
		if got := sink.taken(); got != "first\nsecond\n" || w.Dropped() > 0 {
			t.Errorf("%v: %q, %d dropped", cause, got, w.Dropped())
		}
	}
}

// Close writes what is pending, does not wait for an output that has stalled, and what
// comes later is dropped.
func TestClose(t *testing.T) {
	t.Parallel()
	var all bytes.Buffer
	w := NewAsyncWriter(&all, Text)
	for range 1000 {
		fmt.Fprintln(w, "a line")
	}
	w.Close()
	if n := strings.Count(all.String(), "a line\n"); n != 1000 {
		t.Errorf("%d of 1000 lines were written", n)
	}
	fmt.Fprintln(w, "late")
	if w.Close(); w.Dropped() != 1 {
		t.Errorf("%d lines are dropped", w.Dropped())
	}

	stalled, _, _ := newAsync(t)
	fmt.Fprintln(stalled, strings.Repeat("x", 100<<10))
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		stalled.Close()
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("Close waits for an output that has stalled")
	}

	failing := NewAsyncWriter(&answering{answer: func([]byte) (int, error) { return 0, syscall.ENOSPC }}, JSON)
	fmt.Fprintln(failing, "a line")
	failing.Close()
	select {
	case <-failing.done:
	case <-time.After(patience):
		t.Error("the end waits for an output that fails")
	}
}

// A stall is told, and its end.
func TestStall(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := NewAsyncWriter(writer, JSON)
	changes := make(chan bool, 10)
	w.OnStall(func(stalled bool) { changes <- stalled })
	await := func(want bool) {
		select {
		case got := <-changes:
			if got != want {
				t.Errorf("stalled is %v, want %v", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("stalled does not become %v", want)
		}
	}
	for range 2 {
		fmt.Fprintln(w, strings.Repeat("x", 100<<10))
		await(true)
		if _, err := io.CopyN(io.Discard, reader, 100<<10+1); err != nil {
			t.Fatal(err)
		}
		await(false)
	}
	w.Close()
	if err := errors.Join(reader.Close(), writer.Close()); err != nil {
		t.Error(err)
	}
}

// A burst leaves no large buffer behind, and a line that is larger than all of it is
// dropped.
func TestLogBuffersAreBounded(t *testing.T) {
	t.Parallel()
	w, out, _ := newAsync(t)
	fmt.Fprintln(w, strings.Repeat("x", logBufferBytes))
	if n := out.missing(out.next()); n != 1 {
		t.Errorf("%d lines are missing", n)
	}
	go func() {
		for range 2 * logBufferBytes >> 10 {
			fmt.Fprintln(w, strings.Repeat("x", 1<<10))
		}
		fmt.Fprintln(w, "end")
	}()
	for out.lines.Scan() && out.lines.Text() != "end" && out.missing(out.lines.Text()) == 0 {
		w.mu.Lock()
		if n := w.writing + len(w.pending); n > logBufferBytes {
			t.Errorf("%d bytes wait", n)
		}
		w.mu.Unlock()
	}
}

// answering is an output that takes as much as its function says.
type answering struct {
	answer func([]byte) (int, error)

	mu  sync.Mutex
	all bytes.Buffer
}

func (a *answering) Write(b []byte) (int, error) {
	n, err := a.answer(b)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all.Write(b[:n])
	return n, err
}

func (a *answering) taken() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all.String()
}

func (a *answering) await(t *testing.T, end string) {
	t.Helper()
	until(t, func() bool { return strings.HasSuffix(a.taken(), end) })
}

func awaitDropped(t *testing.T, w *AsyncWriter, n uint64) {
	t.Helper()
	until(t, func() bool { return w.Dropped() == n })
}

// until waits for what nobody announces.
func until(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}
