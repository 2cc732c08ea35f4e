package broker

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// What an older program must not open it has to find noted, so that nothing is stored before.
func TestStoreThatCannotBeClaimed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		former string
		opened bool
	}{
		"no one's":      {"", false},
		"older server":  {`{"format":1,"readable":1,"program":"v1.0.0","server":"2.1.9"}`, false},
		"other version": {`{"format":1,"readable":1,"program":"v1.0.9","server":"` + server.VERSION + `"}`, true},
		"as it is":      {`{"format":1,"readable":1,"program":"v1.0.0","server":"` + server.VERSION + `"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := load(t, "RELAY_DATA_DIR="+t.TempDir())
			path := filepath.Join(cfg.Embedded.DataDir, storeVersionFile)
			if tt.former != "" {
				if err := os.WriteFile(path, []byte(tt.former), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			// A folder in its way keeps the file from being written, for root, too.
			if err := os.MkdirAll(filepath.Join(path+".new", "taken"), 0o700); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			b, err := Open(t.Context(), cfg, "v1.0.0", slog.New(slog.NewTextHandler(&log, nil)))
			if err == nil {
				defer b.Close(t.Context())
			}
			if (err == nil) != tt.opened {
				t.Fatalf("Open returned %v", err)
			}
			if err != nil && (!strings.Contains(err.Error(), "RELAY_DATA_DIR") || !strings.Contains(err.Error(), cfg.Embedded.DataDir)) {
				t.Errorf("the error is %v", err)
			}
			if _, err := os.Stat(filepath.Join(cfg.Embedded.DataDir, server.JetStreamStoreDir)); (err == nil) != tt.opened {
				t.Errorf("the store of the server: %v", err)
			}
			if warned := strings.Contains(log.String(), "goes on naming another version"); warned != (name == "other version") {
				t.Errorf("the log is %s", log.String())
			}
			if text, err := os.ReadFile(path); string(text) != tt.former {
				t.Errorf("the version is now %s (%v)", text, err)
			}
		})
	}
}

// What a crash has left of a version that was being written is written over.
func TestLeftOverStoreVersion(t *testing.T) {
	t.Parallel()
	cfg := load(t, "RELAY_DATA_DIR="+t.TempDir())
	left := filepath.Join(cfg.Embedded.DataDir, storeVersionFile+".new")
	if err := os.WriteFile(left, bytes.Repeat([]byte("{"), 999), 0o600); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, cfg)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", left, err)
	}
	if found := Stores(cfg.Embedded.DataDir); len(found) != 1 || found[0].Err != nil || found[0].Version == nil {
		t.Errorf("the stores are %+v", found)
	}
}

// Only who opens a store is named in it.
func TestStoreThatIsNotOpened(t *testing.T) {
	t.Parallel()
	cfg := stored(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg.Embedded.Addr = l.Addr().String()
	if _, err := Open(t.Context(), cfg, "v1.0.9", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Fatalf("Open returned %v", err)
	}
	if found := Stores(cfg.Embedded.DataDir); len(found) != 1 || found[0].Version.Program != "v1.0.0" {
		t.Errorf("the stores are %+v", found)
	}
}
