package monitoring

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"syscall"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// startOrigin starts what has the files of results.
func startOrigin(t *testing.T) (url string) {
	t.Helper()
	file := bytes.Repeat([]byte("a file "), 20<<10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(file) }))
	t.Cleanup(s.Close)
	return s.URL
}

// startArchive starts the archive of a relay, which has to end in order, and waits until it can
// store. Of the relay's results it may store those that are at its origin.
func startArchive(t *testing.T, program, name string, of *node) *node {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "archive", "--to", "file://"+t.TempDir())
	cmd.Env = relaytest.Environ("NATS_URL="+of.Broker, "RELAY_ARCHIVE_ADMIN_ADDR="+addr, "RELAY_ARCHIVE_HOSTS="+of.origin)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the archive: %v\n%s", err, log.String())
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // which has no effect on one that has ended
		<-ended
	})
	n := &node{name: name, job: "apixo-relay-archive", Relay: &relaytest.Relay{Admin: "http://" + addr, Process: cmd.Process}}
	await(t, "the archive can store", func() bool {
		r, err := http.Get(n.Admin + "/readyz")
		if err == nil {
			_ = r.Body.Close()
		}
		return err == nil && r.StatusCode == http.StatusOK
	})
	return n
}
