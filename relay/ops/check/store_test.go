package check_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
)

// Which versions can open a store is told, and what to do where this one does not.
func TestStore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		// marker is in the folder's store.json, if it is not empty; dir makes that a folder.
		marker  string
		dir     bool
		environ []string
		want    check.Status
		texts   []string
	}{
		"of this version":  {marker: `{"format":1,"readable":1,"program":"v1.0.0","server":"` + server.VERSION + `"}`, want: check.OK, texts: []string{"format 1", "v1.0.0", server.VERSION}},
		"before v1.0.0":    {want: check.OK, texts: []string{"before v1.0.0"}},
		"older server":     {marker: `{"format":1,"readable":1,"program":"v1.0.0","server":"2.1.9"}`, want: check.Warn, texts: []string{"v1.0.0 with nats-server 2.1.9", server.VERSION, "copy the folder first"}},
		"loses something":  {marker: `{"format":2,"readable":1,"loses":["colors","sounds"],"program":"v1.4.0","server":"2.15.2"}`, want: check.Fail, texts: []string{"v1.4.0", "would lose colors, and sounds", "run v1.4.0 or a later version", "RELAY_ALLOW_DOWNGRADE=true for one start"}},
		"is to lose it":    {marker: `{"format":2,"readable":1,"loses":["colors"],"program":"v1.4.0","server":"2.15.2"}`, environ: []string{"RELAY_ALLOW_DOWNGRADE=true"}, want: check.Warn, texts: []string{"this version loses colors", "unset RELAY_ALLOW_DOWNGRADE"}},
		"cannot be read":   {marker: `{"format":9,"readable":9,"program":"v9.0.0","server":"2.15.2"}`, environ: []string{"RELAY_ALLOW_DOWNGRADE=true"}, want: check.Fail, texts: []string{"v9.0.0", "cannot read", "set RELAY_DATA_DIR to another folder"}},
		"garbage":          {marker: `{`, want: check.Fail, texts: []string{"cannot be understood", "remove that file"}},
		"is no file":       {dir: true, want: check.Fail, texts: []string{"is a directory", "does not start"}},
		"of nobody's":      {marker: `{`, environ: []string{"NATS_URL=nats://127.0.0.1:1"}, want: check.OK, texts: []string{"is left as it is"}},
		"newer than other": {marker: `{"format":9,"readable":9,"program":"v9.0.0","server":"2.15.2"}`, environ: []string{"NATS_URL=nats://127.0.0.1:1", "RELAY_OUTBOX=true"}, want: check.OK, texts: []string{"is left as it is"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			marker := filepath.Join(folder, "store.json")
			for _, dir := range map[bool][]string{false: {filepath.Join(folder, "jetstream")}, true: {marker}}[tt.dir] {
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if tt.marker != "" {
				if err := os.WriteFile(marker, []byte(tt.marker), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := here(t, append(tt.environ, "RELAY_DATA_DIR="+folder)...)
			for _, text := range tt.texts {
				expect(t, r, check.Store, tt.want, text)
			}
		})
	}
	expect(t, here(t, "RELAY_DATA_DIR="+t.TempDir()), check.Store, check.OK, "there is none")
}

// The outbox's counts where it is used.
func TestOutboxStore(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	outbox := filepath.Join(folder, "outbox")
	if err := os.Mkdir(outbox, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outbox, "store.json"), []byte(`{"format":9,"readable":9,"program":"v9.0.0","server":"2.15.2"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, here(t, "RELAY_DATA_DIR="+folder), check.Store, check.OK, outbox+" is left as it is")
	expect(t, here(t, "RELAY_DATA_DIR="+folder, "NATS_URL=nats://127.0.0.1:1", "RELAY_OUTBOX=true"), check.Store, check.Fail, outbox+" was opened last by v9.0.0")
}
