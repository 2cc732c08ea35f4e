// Package relaytest builds the relay and runs it in tests as whoever deploys it does: a
// process, settings in its environment, and its log.
package relaytest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Root is the folder of the relay's repository, in which tests run.
var Root = func() string {
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "Dockerfile")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return "."
}()

// Deploy is the path of a file in the folder deploy.
func Deploy(elem ...string) string {
	return filepath.Join(append([]string{Root, "deploy"}, elem...)...)
}

// limit bounds a start, and an orderly end, which the relay itself bounds by 25 s.
const limit = 3 * time.Minute

// Build builds a program of the relay's module, ./cmd/apixo-relay for instance, as
// the Dockerfile does, and returns its path.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	return BuildIn(t, Root, pkg)
}

// BuildIn is Build for a program of the module in the folder dir.
func BuildIn(t testing.TB, dir, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(filepath.Join(dir, pkg)))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// Relay is a running relay. The URLs are those that it tells in its log.
type Relay struct {
	Webhooks string `json:"webhooks"`
	Broker   string `json:"broker"`
	Admin    string `json:"admin"`
	// Process is for signals.
	Process *os.Process `json:"-"`

	log *log
}

// Log is what it has written so far.
func (r *Relay) Log() string { return r.log.String() }

// Environ is an environment of nothing but the given settings and what a program
// needs to run: NATS_URL of whoever runs the tests is not for it.
func Environ(settings ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.Getenv("TMPDIR")}, settings...)
}

// Start starts a relay on free ports and an empty folder, with further settings as
// KEY=value, and waits until it is ready. When the test ends it has to stop at a
// SIGTERM, and in order.
func Start(t testing.TB, program string, settings ...string) *Relay {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = Environ(append([]string{
		"RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0", "RELAY_EMBEDDED_ADDR=127.0.0.1:0",
		"RELAY_DATA_DIR=" + t.TempDir(), "RELAY_LOG_FORMAT=json",
	}, settings...)...)
	return Run(t, cmd)
}

// Run is Start for a command of any other making, which must log in JSON.
func Run(t testing.TB, cmd *exec.Cmd) *Relay {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &Relay{Process: cmd.Process, log: new(log)}
	ready, exited := make(chan Relay, 1), make(chan struct{})
	go func() {
		defer close(exited)
		lines := bufio.NewReader(io.TeeReader(stderr, r.log))
		for {
			text, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			var line struct {
				Msg string `json:"msg"`
				Relay
			}
			if json.Unmarshal(text, &line) == nil && line.Msg == "ready" {
				ready <- line.Relay
			}
		}
		_ = cmd.Wait() // the exit code tells
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // which has no effect on one that has ended
		select {
		case <-exited:
		case <-time.After(limit):
			t.Errorf("the relay had not stopped %v after SIGTERM, and was killed", limit)
			_ = cmd.Process.Kill()
			<-exited
		}
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the relay ended with exit code %d, 0 was expected", code)
		}
		if t.Failed() {
			t.Logf("the relay's log:\n%s", r.Log())
		}
	})
	select {
	case told := <-ready:
		r.Webhooks, r.Broker, r.Admin = told.Webhooks, told.Broker, told.Admin
	case <-exited:
		t.Fatal("the relay ended before it was ready")
	case <-time.After(limit):
		t.Fatal("the relay was not ready in time")
	}
	return r
}

// log is written by one goroutine and read by others.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
