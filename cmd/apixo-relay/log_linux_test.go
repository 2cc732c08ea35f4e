package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// loggingTo runs a relay whose log goes to a pipe, and returns its reading end and the
// URL of its webhooks.
func loggingTo(t *testing.T) (cmd *exec.Cmd, reader *os.File, webhooks string) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(programIn(t, t.TempDir()))
	cmd.Args[0] = "apixo-relay"
	cmd.Env = append([]string{"RELAY_DATA_DIR=" + t.TempDir()}, freePorts...)
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); reader.Close() })
	writer.Close()
	var ready struct{ Webhooks string }
	for lines := bufio.NewScanner(reader); ready.Webhooks == ""; {
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &ready) != nil {
			t.Fatalf("%s %v", lines.Text(), lines.Err())
		}
	}
	return cmd, reader, ready.Webhooks
}

// deliver sends so many webhooks, each of which has to be stored.
func deliver(t *testing.T, url string, n int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	for i := range n {
		resp, err := client.Post(url, "application/json", strings.NewReader(fmt.Sprintf(`{"data":{"taskId":"task_%d","state":"failed"}}`, i)))
		if err != nil {
			t.Fatalf("webhook %d: %v", i, err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("webhook %d: %s", i, resp.Status)
		}
	}
}

// A reader of the log that has ended ends nothing else.
func TestLogReaderIsGone(t *testing.T) {
	t.Parallel()
	cmd, reader, webhooks := loggingTo(t)
	reader.Close()
	deliver(t, webhooks, 20)
	sendSignal(t, cmd, syscall.SIGTERM)
	if status := ended(t, cmd); !status.Exited() || status.ExitStatus() != exitDone {
		t.Errorf("it ended with %v", status)
	}
}

// One that has stalled holds up nothing, not even the end by a crash, of which Go's
// runtime tells on standard error.
func TestLogReaderHasStalled(t *testing.T) {
	t.Parallel()
	for s, want := range map[syscall.Signal]int{syscall.SIGTERM: exitDone, syscall.SIGQUIT: 2} {
		cmd, _, webhooks := loggingTo(t)
		deliver(t, webhooks, 1000) // the pipe takes some 250 lines
		if s == syscall.SIGQUIT {
			fd := fmt.Sprintf("/proc/%d/fd/2", cmd.Process.Pid)
			for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
				if target, err := os.Readlink(fd); err != nil || target == os.DevNull || time.Now().After(end) {
					break
				}
			}
		}
		sendSignal(t, cmd, s)
		if status := ended(t, cmd); !status.Exited() || status.ExitStatus() != want {
			t.Errorf("%v: it ended with %v", s, status)
		}
	}
}
