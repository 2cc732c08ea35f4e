package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
)

// statusAnswers are what a script can have a status API answer.
var statusAnswers = map[string][]fakeapi.Answer{
	"failed":  {fakeapi.Failure},
	"pending": {fakeapi.State("pending")},
	"unknown": {fakeapi.Error(404, "Task not found")},
	"away":    {fakeapi.Error(503, "Service unavailable"), fakeapi.Success},
	"broken":  {fakeapi.HTML(200)},
	"silent":  {fakeapi.Silent},
}

// statusAPI is the script command 'status-api [TASK=ANSWER...]': it runs a status
// API with those answers, and success for all other tasks, until the script ends,
// and sets APIXO_BASE_URL and APIXO_API_KEY to reach it.
func statusAPI(ts *testscript.TestScript, _ bool, args []string) {
	const key = "sk-0123456789abcdef"
	api := fakeapi.New(key)
	for _, arg := range args {
		task, name, _ := strings.Cut(arg, "=")
		answers, ok := statusAnswers[name]
		if !ok {
			ts.Fatalf("%s is no answer of a status API", name)
		}
		api.Set(task, answers...)
	}
	server := httptest.NewServer(api)
	ts.Defer(server.Close)
	ts.Setenv("APIXO_BASE_URL", server.URL)
	ts.Setenv("APIXO_API_KEY", key)
}

// Interrupted, backfill finishes what is in flight, and tells what it did not come to.
func TestBackfillInterrupted(t *testing.T) {
	t.Parallel()
	program := programIn(t, t.TempDir())
	_, ready := runRelay(t, program, freePorts)

	started := make(chan *os.Process, 1)
	api := fakeapi.New("key")
	api.Set("task_1", func(w http.ResponseWriter, r *http.Request, id string) {
		if err := (<-started).Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		fakeapi.Success(w, r, id)
	})
	server := httptest.NewServer(api)
	defer server.Close()
	c := exec.Command(program, "backfill", "--model", "m", "--concurrency", "1", "--rate", "2/s", "task_1", "task_2", "task_3")
	c.Env = []string{"NATS_URL=" + ready["broker"].(string), "APIXO_BASE_URL=" + server.URL, "APIXO_API_KEY=key"}
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	started <- c.Process
	err := c.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signaled() || exit.ExitCode() != exitFailed {
		t.Errorf("it ended with %v", err)
	}
	if out := stdout.String(); !strings.Contains(out, "stored    task_1  m  success     sequence 1 of APIXO") || !strings.Contains(out, "tasks     3: 1 stored, 2 not asked") {
		t.Error(out)
	}
	if said := stderr.String(); !strings.Contains(said, "finishing what is in flight; once more ends it at once\n") || !strings.Contains(said, "stopped before the end; run it again") {
		t.Error(stderr.String())
	}
}
