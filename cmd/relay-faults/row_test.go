//go:build system

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/faults"
)

// A whole row, as everybody runs it: results, table and, if it fails, logs.
func TestOneRow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"--row", "store-removed", "--out", dir}, &out, &errs)
	if code != exitPassed || !strings.Contains(out.String(), "1 rows passed") {
		t.Errorf("it ended with %d:\n%s%s", code, out.String(), errs.String())
	}
	r := read(t, filepath.Join(dir, "faults.json"))
	if len(r.Rows) != 1 || r.Rows[0].Sent == 0 || r.Rows[0].Status != faults.Passed || r.Broker == "unknown" {
		t.Errorf("the results are %+v", r)
	}
	if table, err := os.ReadFile(filepath.Join(dir, "faults.md")); err != nil || !strings.Contains(string(table), "store-removed") {
		t.Errorf("the table is %s, %v", table, err)
	}
}

// What does not store what it acknowledges fails, and leaves its logs.
func TestABadRelayFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out bytes.Buffer
	code := run(t.Context(), []string{"--row", "store-removed", "--relay", "/bin/false", "--out", dir}, &out, &out)
	if code != exitFailed || !strings.Contains(out.String(), "FAILED") || !strings.Contains(out.String(), "\nFAILED: store-removed: ") {
		t.Errorf("it ended with %d:\n%s", code, out.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "store-removed.log")); err != nil {
		t.Error(err)
	}
}
