package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
)

// Programs that are built for the tests that run them.
var relayProgram, peerProgram string

func TestMain(m *testing.M) {
	// The brokers are this program once more.
	if len(os.Args) > 1 && os.Args[1] == idBroker {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		_ = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
		stop()
		// At an ordinary exit the race detector waits for a second.
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Kill()
		}
	}
	dir, err := os.MkdirTemp("", "relay-bench-test-")
	if err != nil {
		panic(err)
	}
	relayProgram, peerProgram = filepath.Join(dir, "apixo-relay"), filepath.Join(dir, "peer")
	// Unlike what is measured otherwise, these come from the cache of other tests.
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "../apixo-relay", "./peer").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := leaktest.Run(m)
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// bench runs the program with a folder of its own, in which nothing may be left,
// and tiny durations unless the arguments say otherwise.
func bench(ctx context.Context, t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	defaults := []string{"--peer", peerProgram, "--rounds=1", "--duration=50ms", "--idle=50ms"}
	if !strings.Contains(strings.Join(args, " "), "--connections") { // which would add up
		defaults = append(defaults, "--connections=1")
	}
	return measured(ctx, t, nil, append(defaults, args...)...)
}

// measured runs a command of relay-bench on the relay that the tests build, unless
// the arguments name another, with a folder of its own, in which nothing may be left.
func measured(ctx context.Context, t *testing.T, command []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	var out, errs bytes.Buffer
	code = run(ctx, slices.Concat(command, []string{"--relay", relayProgram, "--dir", dir}, args), &out, &errs)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	noChildren(t)
	return code, out.String(), errs.String()
}

// noChildren checks that no process is left, where that can be known.
func noChildren(t *testing.T) {
	t.Helper()
	threads, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		if children, err := os.ReadFile(thread); err == nil && len(children) > 0 {
			t.Errorf("processes that were left: %s", children)
		}
	}
}

// counter is a receiver of webhooks that counts them.
type counter struct {
	mu   sync.Mutex
	seen map[string]int
	head http.Header
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var webhook struct{ Data struct{ TaskID string } }
	if err := json.NewDecoder(r.Body).Decode(&webhook); err != nil || r.Method != http.MethodPost {
		http.Error(w, "no webhook", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = make(map[string]int)
	}
	c.seen[webhook.Data.TaskID]++
	c.head = r.Header
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"duplicate":false}`)
}

func parseXML(t *testing.T, text []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
}

// A receiver that is not there is found out before anything is started.
func TestNoReceiver(t *testing.T) {
	receiver := httptest.NewServer(nil)
	receiver.Close()
	code, stdout, stderr := bench(t.Context(), t, "--url", receiver.URL)
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "there is no receiver to measure") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// A program that ends instead of serving is named, with what it says.
func TestBrokenRelay(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho Usage: none\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := bench(t.Context(), t, "--relay", broken)
	if code != exitFailed || !strings.Contains(stderr, "external has ended") || !strings.Contains(stderr, "Usage:") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// Stopped in the middle, it leaves nothing behind; bench looks for that.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	silence := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cancel()
		<-silence
	}))
	defer receiver.Close()
	defer close(silence)
	code, stdout, stderr := bench(ctx, t, "--url", receiver.URL, "--rounds=1000000")
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "stopped") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{
		{"serve"},
		{"--connection=1"},
		{"--connections="},
		{"--connections=0"},
		{"--connections=64,64"},
		{"--connections=100000"},
		{"--rounds=0"},
		{"--duration=0s"},
		{"--duration=1"},
		{"--rate=-1"},
		{"--idle=-1s"},
		{"--against=/nowhere/relay"},
		{"--against-env=RELAY_EXPECT"},
		{"--url=hooks.example.com/secret0123456789"},
		{"--pid=1"},
		{"--relay=/nowhere/secret"},
		{"--plot=/nowhere/plot.svg"},
	} {
		code, stdout, stderr := bench(t.Context(), t, args...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "relay-bench: ") || strings.Contains(stderr, "secret0123456789") {
			t.Errorf("%v: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestHelp(t *testing.T) {
	code, stdout, _ := bench(t.Context(), t, "-h")
	for _, want := range []string{"Exit codes:", "Examples:", "--connections"} {
		if code != exitMeasured || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, no %q in\n%s", code, want, stdout)
		}
	}
	for _, hidden := range []string{"\n  " + idBroker, "\n  help"} {
		if strings.Contains(stdout, hidden) {
			t.Errorf("commands for this program alone are shown:\n%s", stdout)
		}
	}
}
