//go:build unix

package broker

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Until a relay has the lock, another one may open the store: its version is read again then.
func TestStoreThatAnotherOpensMeanwhile(t *testing.T) {
	t.Parallel()
	cfg := load(t, "RELAY_DATA_DIR="+t.TempDir())
	// Each time that it is read, the pipe has what is written then.
	path := filepath.Join(cfg.Embedded.DataDir, storeVersionFile)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		_, err := Open(t.Context(), cfg, "v1.0.0", slog.New(slog.DiscardHandler))
		opened <- err
	}()
	for _, version := range []string{
		`{"format":1,"readable":1,"program":"v1.0.0","server":"` + server.VERSION + `"}`,
		`{"format":2,"readable":2,"program":"v2.0.0","server":"` + server.VERSION + `"}`,
	} {
		pipe, err := os.OpenFile(path, os.O_WRONLY, 0) // when somebody reads it
		if err != nil {
			t.Fatal(err)
		}
		_, err = pipe.WriteString(version)
		if err := errors.Join(err, pipe.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-opened; err == nil || !strings.Contains(err.Error(), "v2.0.0") {
		t.Errorf("Open returned %v", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Embedded.DataDir, server.JetStreamStoreDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the server's store is there: %v", err)
	}
}
