package archive

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// command is a run of 'apixo-relay archive' or another command of the program.
type command struct {
	cmd            *exec.Cmd
	ended          <-chan struct{}
	stdout, stderr *buffer
}

// buffer is written by a process and read by tests.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// startCommand starts the program. What it logs is shown if the test fails.
func startCommand(t testing.TB, environ []string, args ...string) *command {
	t.Helper()
	p, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	c := &command{cmd: exec.Command(p.Relay(), args...), stdout: new(buffer), stderr: new(buffer)}
	c.cmd.Env = relaytest.Environ(append([]string{"RELAY_LOG_FORMAT=json"}, environ...)...)
	c.cmd.Dir = t.TempDir()
	c.cmd.Stdout, c.cmd.Stderr = c.stdout, c.stderr
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("apixo-relay %s (%v) said:\n%s\n%s", strings.Join(args, " "), c.cmd.ProcessState, last(c.stdout.String(), 10), last(c.stderr.String(), 40))
		}
	})
	c.ended = start(t, c.cmd)
	return c
}

// last are the last lines of a text.
func last(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Wait waits for the end and returns the exit code.
func (c *command) Wait(ctx context.Context, t testing.TB) int {
	t.Helper()
	select {
	case <-c.ended:
	case <-ctx.Done():
		t.Fatalf("%v does not end", c.cmd.Args)
	}
	return c.cmd.ProcessState.ExitCode()
}

// Stop ends it in order, as systemd and Kubernetes do.
func (c *command) Stop(ctx context.Context, t testing.TB) int {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return c.Wait(ctx, t)
}

// Kill ends it as a crash does.
func (c *command) Kill() {
	_ = c.cmd.Process.Kill() // an error says that it has ended
	<-c.ended
}

// Complaints are how often its log says that the target cannot store.
func (c *command) Complaints() int {
	return strings.Count(c.stderr.String(), `"msg":"the target cannot store`)
}

// metrics are what an admin endpoint tells: the sum of each metric by its name without
// namespace, and of each cause of a failure by failures{cause}.
func metrics(t testing.TB, admin string) map[string]float64 {
	t.Helper()
	res, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for name, family := range families {
		name = strings.TrimPrefix(name, "apixo_relay_")
		for _, m := range family.GetMetric() {
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			sums[name] += value
			for _, label := range m.GetLabel() {
				if label.GetName() == "cause" {
					sums[name+"{"+label.GetValue()+"}"] += value
				}
			}
		}
	}
	return sums
}

// ask returns the status of an admin endpoint's path, or 0.
func ask(url string) int {
	res, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// archive starts 'apixo-relay archive' to a place.
func archive(t testing.TB, environ []string, to place, args ...string) *command {
	t.Helper()
	return startCommand(t, slices.Concat(environ, to.Environ()), append([]string{"archive", "--to", to.To()}, args...)...)
}
