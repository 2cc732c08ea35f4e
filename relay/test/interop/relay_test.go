package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Folders: of the relay's own module, and of an example's.
const (
	moduleRoot = "../../.."
	sdkExample = moduleRoot + "/schema/examples/go/cloudevents"
)

// stopTimeout bounds the orderly end of a relay: its own limit is 25 seconds.
const stopTimeout = 30 * time.Second

// build builds a program of the relay's module and returns its path.
func build(t *testing.T, name, pkg string) string {
	t.Helper()
	return buildIn(t, moduleRoot, name, pkg)
}

// buildIn builds a program of the module in a folder and returns its path.
func buildIn(t *testing.T, module, name, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// environ is what the programs under test see of the environment: the settings
// of whoever runs the tests, NATS_URL above all, are not for them.
func environ(settings ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.Getenv("TMPDIR")}, settings...)
}

// relay is a running relay process. The URLs are those that it tells in its log.
type relay struct {
	Webhooks string `json:"webhooks"`
	Broker   string `json:"broker"`
	Admin    string `json:"admin"`
}

// startRelay starts a relay with an embedded broker and further settings. When the
// test ends it has to stop at a SIGTERM, and in order.
func startRelay(ctx context.Context, t *testing.T, program, mode string, settings ...string) relay {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(environ(settings...),
		"RELAY_LISTEN_ADDR=127.0.0.1:0",
		"RELAY_ADMIN_ADDR=127.0.0.1:0",
		"RELAY_EMBEDDED_ADDR=127.0.0.1:0",
		"RELAY_DATA_DIR="+t.TempDir(),
		"RELAY_LOG_FORMAT=json",
		"RELAY_CE_MODE="+mode,
	)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer // to be read once exited is closed
	ready := make(chan relay, 1)
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		lines := bufio.NewReader(io.TeeReader(stderr, &log))
		for {
			text, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			var line struct {
				Msg string `json:"msg"`
				relay
			}
			if json.Unmarshal(text, &line) == nil && line.Msg == "ready" {
				ready <- line.relay
			}
		}
		_ = cmd.Wait() // the exit code tells
	}()
	t.Cleanup(func() {
		// Not t.Context: that has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("the relay could not be sent a SIGTERM: %v", err)
		}
		select {
		case <-exited:
		case <-ctx.Done():
			t.Errorf("the relay had not stopped %v after SIGTERM, and was killed", stopTimeout)
			_ = cmd.Process.Kill()
			<-exited
		}
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the relay ended with exit code %d after SIGTERM, 0 was expected", code)
		}
		if t.Failed() {
			t.Logf("the relay's log:\n%s", log.String())
		}
	})
	select {
	case r := <-ready:
		return r
	case <-exited:
		t.Fatal("the relay ended before it was ready")
	case <-ctx.Done():
		t.Fatal("the relay was not ready in time")
	}
	panic("not reached")
}

// post delivers a webhook, which has to be answered as it says.
func (r relay) post(ctx context.Context, t *testing.T, w webhook) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Webhooks+"?model="+w.model.encoded, bytes.NewReader(w.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != w.status || strings.Contains(string(answer), `"duplicate":true`) {
		t.Fatalf("%s: the relay answered %s, %d was expected:\n%s", w.name, res.Status, w.status, answer)
	}
}
