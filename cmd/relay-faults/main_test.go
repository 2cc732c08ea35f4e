package main

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/faults"
)

var update = flag.Bool("update", false, "write the table of full.json into README.md")

// read is a report in a file.
func read(t *testing.T, file string) *report {
	t.Helper()
	r, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The table, and the figures on the front page, are those of a full run of all rows
// that there are.
func TestReadmeShowsAFullRun(t *testing.T) {
	t.Parallel()
	const file = "README.md"
	const begin, end = "<!-- faults: made from full.json by 'go test ./cmd/relay-faults -update' -->\n", "<!-- /faults -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	shown, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", file)
	}
	r := read(t, "full.json")
	want := r.readme()
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if shown != want {
		t.Error("the README shows another run: go test ./cmd/relay-faults -update")
	}
	const page = "../../README.md"
	if text, err = os.ReadFile(page); err != nil {
		t.Fatal(err)
	}
	before, rest, ok = strings.Cut(string(text), "<!-- faults -->")
	shown, after, ok2 = strings.Cut(rest, "<!-- /faults -->")
	switch {
	case !ok || !ok2:
		t.Fatalf("%s has no place for the figures", page)
	case *update:
		if err := os.WriteFile(page, []byte(before+"<!-- faults -->"+r.promise()+"<!-- /faults -->"+after), 0o644); err != nil {
			t.Fatal(err)
		}
	case shown != r.promise():
		t.Errorf("%s shows another run: go test ./cmd/relay-faults -update", page)
	}
	if r.Form != "full" || strings.Contains(r.Commit, "changed") {
		t.Errorf("it is of a %s run at %s", r.Form, r.Commit)
	}
	recorded := make(map[string]bool)
	for _, row := range r.Rows {
		recorded[row.Row] = true
		if row.Status == faults.Failed {
			t.Errorf("the recorded run of %s failed", row.Row)
		}
	}
	for _, row := range faults.Rows() {
		if !recorded[row.Name] {
			t.Errorf("the recorded run has no row %s", row.Name)
		}
	}
}

// Names are unique, since --row and the logs go by them, and nothing is untold.
func TestRowsTellWhatTheyDo(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool)
	for _, r := range faults.Rows() {
		if names[r.Name] || r.Name == "" || r.Fault == "" || len(r.Injected) < 20 {
			t.Errorf("%+v", r)
		}
		names[r.Name] = true
		if strings.ContainsAny(r.Name, " ,/") || strings.Contains(r.Fault+r.Injected, "|") {
			t.Errorf("%q cannot be shown in a table, or given to --row", r.Name)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		want int
		says string
	}{
		{"--list", exitPassed, "relay-killed"},
		{"--list --row power-loss", exitPassed, "power-loss\n"},
		{"-h", exitPassed, "--full"},
		{"--row nonsense", exitUsage, `no row "nonsense"`},
		{"nonsense", exitUsage, "is not an argument"},
		{"--nonsense", exitUsage, "relay-faults -h"},
		{"--relay nonsense", exitUsage, "nonsense"},
		{"--into nonsense", exitUsage, "nonsense"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if code := run(t.Context(), strings.Fields(tt.args), &out, &out); code != tt.want || !strings.Contains(out.String(), tt.says) {
				t.Errorf("it ended with %d and said\n%s", code, out.String())
			}
		})
	}
}

var exampleRows = []faults.Result{
	{Row: "one", Fault: "the first", Injected: "by hand", Status: faults.Passed, Rounds: 3, Sent: 12000, Accepted: 11000, Slowest: 1500 * time.Millisecond, Recovery: 20 * time.Millisecond, Notes: []string{"it was seen"}},
	{Row: "two", Fault: "the second", Injected: "by foot", Status: faults.Failed, Sent: 5, Accepted: 5, Lost: faults.Lost{Prefix: 1, End: 2}, Twice: 1, Failures: []string{"3 webhooks got 200 and are not stored"}},
	{Row: "three", Fault: "the third", Injected: "by magic", Status: faults.NotRun, NotRun: "there is no magic here"},
}

// What was not run has not passed, and what was lost is told, with its place.
func TestReports(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := newWatcher(&out, &out, []faults.Row{{Name: "one"}, {Name: "two"}, {Name: "three"}})
	r := &report{Rows: exampleRows, Form: "full", Command: "go run ./cmd/relay-faults --full", Commit: "abc", Took: time.Minute}
	for _, row := range r.Rows {
		w.ended(row)
	}
	out.WriteString(r.summary())
	out.WriteString(r.markdown())
	for _, want := range []string{
		"11,000", "1.50 s", "0.02 s", "it was seen",
		"lost 3 (1 prefix, 2 end)", "FAILED: 3 webhooks got 200", "**Failed**",
		"not run: there is no magic here", "1 rows passed, 1 failed, 1 not run",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nobody says %q:\n%s", want, out.String())
		}
	}
	for _, tt := range []struct {
		rows []faults.Result
		want int
	}{{exampleRows[:1], exitPassed}, {exampleRows[:2], exitFailed}, {exampleRows, exitFailed}, {exampleRows[2:], exitNotRun}, {nil, exitPassed}} {
		if got := exitCode((&report{Rows: tt.rows}).verdict()); got != tt.want {
			t.Errorf("%d rows end with %d, want %d", len(tt.rows), got, tt.want)
		}
	}
}

// A row that was run again stands where it stood, one that is new where the suite has
// it, and each tells its commit.
func TestRowsRunAgain(t *testing.T) {
	t.Parallel()
	r := &report{Rows: slices.Clone(exampleRows), Form: "full", Commit: "abc"}
	again := &report{Rows: []faults.Result{{Row: "two", Status: faults.Passed, Sent: 7}}, Form: "full", Commit: "def"}
	if err := r.takeIn(again); err != nil || len(r.Rows) != 3 || r.Rows[1].Sent != 7 || r.Rows[1].Commit != "def" || r.Rows[0].Commit != "" {
		t.Errorf("it has %+v, %v", r.Rows, err)
	}
	if !strings.Contains(r.markdown(), "run again at `def`") {
		t.Errorf("the table is %s", r.markdown())
	}
	if err := r.takeIn(&report{Rows: again.Rows, Form: "short"}); err == nil {
		t.Error("a short run was taken in")
	}
	first := faults.Rows()[0].Name
	if err := r.takeIn(&report{Rows: []faults.Result{{Row: "four"}, {Row: first}}, Form: "full", Commit: "ghi"}); err != nil || len(r.Rows) != 5 || r.Rows[4].Row != first || r.Rows[3].Commit != "ghi" {
		t.Errorf("with new rows it has %+v, %v", r.Rows, err)
	}
}
