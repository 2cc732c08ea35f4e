package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"go.uber.org/goleak"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// terminal is one whose other end is read.
type terminal struct {
	t   *testing.T
	tty *os.File

	mu    sync.Mutex
	shown bytes.Buffer
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 25, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, tty: tty}
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := ptmx.Read(buf)
			term.mu.Lock()
			term.shown.Write(buf[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		tty.Close()
		reading.Wait() // which ends when nobody has the terminal open
		ptmx.Close()
	})
	return term
}

// await waits until something is shown behind an offset, and returns all that is.
func (term *terminal) await(offset int, what string) string {
	term.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		term.mu.Lock()
		shown := term.shown.String()
		term.mu.Unlock()
		if len(shown) > offset && strings.Contains(shown[offset:], what) {
			return shown
		}
		if time.Now().After(end) {
			term.t.Fatalf("%q is not shown, but %q", what, shown)
		}
	}
}

// A bar shows how far it is, comes again after a line, and leaves nothing behind, no
// goroutine either.
func TestProgressOnATerminal(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for name, total := range map[string]int{"known": 10, "unknown": -1} {
		term := newTerminal(t)
		p := newProgress(term.tty, total, "things", "doing")
		p.set(3, total)
		p.describe("working")
		want := map[string]string{"known": "(3/10, ", "unknown": "(3/-, "}[name]
		shown := term.await(0, want)
		if shown = term.await(len(shown), "working"); !strings.Contains(shown, "doing") {
			t.Errorf("%s: shown as %q", name, shown)
		}
		fmt.Fprintln(p.suspend(term.tty), "a line")
		shown = term.await(0, "\x1b[2K\ra line")
		shown = term.await(len(shown), want) // comes again by itself
		p.set(4, 20)                         // its number is known now
		term.await(len(shown), "(4/20, ")
		p.end()
		p.end()
		fmt.Fprintln(term.tty, "the end")
		if shown = term.await(0, "the end"); !strings.HasSuffix(shown, "\x1b[2K\rthe end\r\n") {
			t.Errorf("%s: the end is shown as %q", name, shown)
		}
	}
	reading := goleak.IgnoreAnyFunction("github.com/apixo-relay/apixo-relay/cmd/apixo-relay.newTerminal.func1")
	goleak.VerifyNone(t, before, reading)
}

// The log of a relay on a terminal is for people, in colors unless they are not wanted.
func TestLogOnATerminal(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	for _, c := range []struct {
		stderr  io.Writer
		format  config.LogFormat
		environ []string
		want    telemetry.Format
	}{
		{term.tty, config.LogAuto, nil, telemetry.Color},
		{term.tty, config.LogText, []string{"NO_COLOR=", "TERM=xterm"}, telemetry.Color},
		{term.tty, config.LogAuto, []string{"NO_COLOR=1"}, telemetry.NoColor},
		{term.tty, config.LogText, []string{"TERM=dumb"}, telemetry.NoColor},
		{term.tty, config.LogJSON, nil, telemetry.JSON},
		{io.Discard, config.LogAuto, nil, telemetry.JSON},
		{io.Discard, config.LogText, nil, telemetry.Text},
	} {
		if got := (cliEnv{environ: c.environ, stderr: c.stderr}).logFormat(c.format); got != c.want {
			t.Errorf("%s with %q on a %T: %v, want %v", c.format, c.environ, c.stderr, got, c.want)
		}
	}

	cmd := exec.Command(programIn(t, t.TempDir()))
	cmd.Args[0] = "apixo-relay"
	cmd.Env = slices.Concat(freePorts, []string{"RELAY_DATA_DIR=" + t.TempDir()})
	cmd.Stderr = term.tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	shown := term.await(0, "tail --since 1h")
	_, url, _ := strings.Cut(shown, "webhooks  ")
	deliver(t, strings.Fields(url)[0], 1)
	term.await(len(shown), " \x1b[92mINF\x1b[0m webhook \x1b[2moutcome=\x1b[0mpublished")
	sendSignal(t, cmd, syscall.SIGTERM)
	if status := ended(t, cmd); status.ExitStatus() != exitDone {
		t.Errorf("it ended with %v", status)
	}
}
