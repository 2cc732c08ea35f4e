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
	// A pipe is read when somebody writes to it. Once the first one is open, the second one has
	// its name.
	path := filepath.Join(cfg.Embedded.DataDir, storeVersionFile)
	second := path + ".second"
	for _, pipe := range []string{path, second} {
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opened := make(chan error, 1)
	go func() {
		_, err := Open(t.Context(), cfg, "v1.0.0", slog.New(slog.DiscardHandler))
		opened <- err
	}()
	write := func(version string, meanwhile func() error) {
		t.Helper()
		pipe, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = meanwhile()
		_, err2 := pipe.WriteString(version)
		if err := errors.Join(err, err2, pipe.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"format":1,"readable":1,"program":"v1.0.0","server":"`+server.VERSION+`"}`, func() error { return os.Rename(second, path) })
	write(`{"format":2,"readable":2,"program":"v2.0.0","server":"`+server.VERSION+`"}`, func() error { return nil })
	if err := <-opened; err == nil || !strings.Contains(err.Error(), "v2.0.0") {
		t.Errorf("Open returned %v", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Embedded.DataDir, server.JetStreamStoreDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the server's store is there: %v", err)
	}
}
