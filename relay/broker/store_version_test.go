package broker

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// stored opens a store, and stores something in it.
func stored(t *testing.T, environ ...string) config.Config {
	t.Helper()
	cfg := load(t, append([]string{"RELAY_DATA_DIR=" + t.TempDir()}, environ...)...)
	b, err := Open(t.Context(), cfg, "v1.0.0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(b.Conn())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// files are all files below a folder, with what is in them and when they changed.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(info.ModTime().UnixNano(), info.Mode())
		if !d.IsDir() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[path] += fmt.Sprintf(" %x", sha256.Sum256(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantStored(t *testing.T, b *Broker) {
	t.Helper()
	js, err := jetstream.New(b.Conn())
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.GetMsg(t.Context(), 1); err != nil || string(m.Data) != "kept" {
		t.Errorf("what was stored is %v (%v)", m, err)
	}
}

// Whoever opens a store notes it there.
func TestStoreVersion(t *testing.T) {
	t.Parallel()
	cfg := stored(t)
	want := StoreVersion{Format: storeFormat, Readable: storeReadable, Program: "v1.0.0", Server: server.VERSION}
	found := Stores(cfg.Embedded.DataDir)
	if len(found) != 1 || found[0].Dir != cfg.Embedded.DataDir || found[0].Err != nil || fmt.Sprint(*found[0].Version) != fmt.Sprint(want) {
		t.Fatalf("the stores are %+v", found)
	}
	// A store of before v1.0.0 has no version.
	path := filepath.Join(cfg.Embedded.DataDir, storeVersionFile)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if found := Stores(cfg.Embedded.DataDir); len(found) != 1 || found[0].Version != nil || found[0].Err != nil {
		t.Fatalf("without a version the stores are %+v", found)
	}
	wantStored(t, mustOpen(t, cfg))
	if found := Stores(cfg.Embedded.DataDir); len(found) != 1 || found[0].Version == nil || found[0].Version.Program != "test" {
		t.Fatalf("afterwards the stores are %+v", found)
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	if found := Stores(t.TempDir()); len(found) > 0 {
		t.Errorf("an empty folder has the stores %+v", found)
	}
}

// What a newer program has written is refused, and stays as it is.
func TestNewerStore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		version string
		wants   []string
		// lossy: it may be opened by who is told so.
		lossy bool
	}{
		"cannot be read":    {`{"format":3,"readable":2,"program":"v2.1.0","server":"2.15.2"}`, []string{"v2.1.0", "format 3", "up to format 1", "nothing was changed", "RELAY_DATA_DIR"}, false},
		"loses something":   {`{"format":2,"readable":1,"loses":["the colors of events"],"program":"v1.2.0","server":"2.15.2"}`, []string{"v1.2.0", "the colors of events", "nothing was changed", "RELAY_ALLOW_DOWNGRADE=true"}, true},
		"does not say what": {`{"format":2,"readable":1,"program":"v1.2.0","server":"2.15.2"}`, []string{"what is new in format 2"}, true},
		"newer server":      {`{"format":1,"readable":1,"program":"v1.1.0","server":"2.99.1"}`, []string{"v1.1.0", "nats-server 2.99.1", server.VERSION, "RELAY_ALLOW_DOWNGRADE=true"}, true},
		"is empty":          {``, []string{storeVersionFile, "remove that file"}, false},
		"of other types":    {`{"format":"1","readable":1,"program":"v1.0.0","server":"2.15.2"}`, []string{"format", "remove that file"}, false},
		"below one":         {`{"format":-1,"readable":-1,"program":"v1.0.0","server":"2.15.2"}`, []string{"format -1", "remove that file"}, false},
		"readable by none":  {`{"format":1,"readable":0,"program":"v1.0.0","server":"2.15.2"}`, []string{"readable from 0", "remove that file"}, false},
		"of nobody":         {`{"format":1,"readable":1,"server":"2.15.2"}`, []string{"program is missing"}, false},
		"of no server":      {`{"format":1,"readable":1,"program":"v1.0.0"}`, []string{`server "" is no version`}, false},
		"two of them":       {`{"format":1,"readable":1,"program":"v1.0.0","server":"2.15.2"}{}`, []string{"after top-level value"}, false},
		"both":              {`{"format":2,"readable":1,"loses":["colors"],"program":"v1.2.0","server":"2.99.1"}`, []string{"colors, and what nats-server 2.99.1"}, true},
		"garbage":           {`{"format":`, []string{storeVersionFile, "remove that file"}, false},
		"nonsense":          {`{"format":1,"readable":2}`, []string{"readable from 2", "remove that file"}, false},
		"of no format":      {`{}`, []string{"format 0"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := stored(t)
			if err := os.WriteFile(filepath.Join(cfg.Embedded.DataDir, storeVersionFile), []byte(tt.version), 0o600); err != nil {
				t.Fatal(err)
			}
			// Which a copy of a store does not have.
			if err := os.Remove(filepath.Join(cfg.Embedded.DataDir, "relay.lock")); err != nil {
				t.Fatal(err)
			}
			before := files(t, cfg.Embedded.DataDir)
			_, err := Open(t.Context(), cfg, "v1.0.0", slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatal("it is opened")
			}
			for _, want := range append(tt.wants, cfg.Embedded.DataDir) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if after := files(t, cfg.Embedded.DataDir); !maps.Equal(before, after) {
				t.Errorf("before there was\n%v\nand now there is\n%v", before, after)
			}
			if found := Stores(cfg.Embedded.DataDir); len(found) != 1 || found[0].Err == nil || found[0].Err.Error() != err.Error() {
				t.Errorf("the stores are %+v", found)
			}
			var log bytes.Buffer
			cfg.Embedded.AllowDowngrade = true
			b, err := Open(t.Context(), cfg, "v1.0.0", slog.New(slog.NewTextHandler(&log, nil)))
			if err == nil {
				defer b.Close(t.Context())
			}
			switch {
			case !tt.lossy && err == nil:
				t.Error("it is opened since it may lose something")
			case !tt.lossy:
				if after := files(t, cfg.Embedded.DataDir); !maps.Equal(before, after) {
					t.Errorf("it was changed: %v", after)
				}
			case err != nil:
				t.Fatal(err)
			default:
				wantStored(t, b)
				if !strings.Contains(log.String(), "RELAY_ALLOW_DOWNGRADE") {
					t.Errorf("the log is %s", log.String())
				}
				if found := Stores(cfg.Embedded.DataDir); len(found) != 1 || found[0].Err != nil || found[0].Version.Program != "v1.0.0" {
					t.Errorf("afterwards the stores are %+v", found)
				}
			}
		})
	}
}

// It holds for the outbox, too.
func TestNewerOutbox(t *testing.T) {
	t.Parallel()
	cfg := load(t, "NATS_URL=nats://127.0.0.1:1", "RELAY_OUTBOX=true", "RELAY_DATA_DIR="+t.TempDir())
	b, err := OpenOutbox(t.Context(), cfg, "v1.0.0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := Stores(cfg.Embedded.DataDir)
	if len(found) != 1 || found[0].Dir != filepath.Join(cfg.Embedded.DataDir, OutboxFolder) || found[0].Version.Program != "v1.0.0" {
		t.Fatalf("the stores are %+v", found)
	}
	v := StoreVersion{Format: 9, Readable: 9, Program: "v9.0.0", Server: server.VERSION}
	if err := v.write(found[0].Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenOutbox(t.Context(), cfg, "v1.0.0", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "v9.0.0") {
		t.Errorf("OpenOutbox returned %v", err)
	}
}

func TestShutsOutFormer(t *testing.T) {
	t.Parallel()
	current := currentVersion("v1.0.0")
	older := current
	older.Server = "2.1.9"
	patched := current
	patched.Server += "-beta.1" // of another patch level, whatever the current one is
	for _, tt := range []struct {
		store Store
		want  bool
	}{
		{Store{Version: &current}, false},
		{Store{Version: &patched}, false},
		{Store{Version: &older}, true},
		{Store{Version: &older, Err: fs.ErrInvalid}, false},
		{Store{}, false},
	} {
		if got := tt.store.ShutsOutFormer(); got != tt.want {
			t.Errorf("ShutsOutFormer of %+v is %t", tt.store, got)
		}
	}
	next := current
	next.Format++
	if !next.shutsOut(&current) || current.shutsOut(&next) {
		t.Error("a format shuts out those that do not know it, and only those")
	}
	next.Readable++
	next.Format, current.Format = 5, 5
	if !next.shutsOut(&current) || current.shutsOut(&next) {
		t.Error("a format that has to be known shuts out those that do not know it, and only those")
	}
}
