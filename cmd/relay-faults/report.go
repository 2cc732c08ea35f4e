package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/faults"
)

// report is what a run came to, and under which conditions.
type report struct {
	Command string          `json:"command"`
	Commit  string          `json:"commit"`
	Form    string          `json:"form"`
	Seed    uint64          `json:"seed"`
	Date    string          `json:"date"`
	Go      string          `json:"go"`
	Broker  string          `json:"broker"` // version of nats-server
	Machine string          `json:"machine"`
	Took    time.Duration   `json:"took"`
	Rows    []faults.Result `json:"rows"`
}

func newReport(ctx context.Context, f flags) *report {
	r := &report{
		Command: "go run ./cmd/relay-faults", Commit: commit(ctx), Form: "short", Seed: f.seed,
		Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(), Broker: "unknown",
		Machine: fmt.Sprintf("%d cores, %s", runtime.NumCPU(), system()),
	}
	if f.full {
		r.Form = "full"
		r.Command += " --full"
	}
	if len(f.rows) > 0 {
		r.Command += " --row " + strings.Join(f.rows, ",")
	}
	r.Command += " --seed " + strconv.FormatUint(f.seed, 10)
	if version, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", "github.com/nats-io/nats-server/v2").Output(); err == nil {
		r.Broker = strings.TrimSpace(string(version))
	}
	return r
}

// commit is that of the folder in which the suite runs, from which it builds.
func commit(ctx context.Context) string {
	hash, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	text := strings.TrimSpace(string(hash))
	if changed, err := exec.CommandContext(ctx, "git", "status", "--porcelain").Output(); err != nil || len(changed) > 0 {
		text += ", changed"
	}
	return text
}

func system() string {
	name := runtime.GOOS + "/" + runtime.GOARCH
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		version := strings.SplitN(string(release), ".", 3)
		name += " " + strings.Join(version[:min(2, len(version))], ".")
	}
	return name
}

func (r *report) json() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	return append(text, '\n'), err
}

func (r *report) count(s faults.Status) (n int) {
	for _, row := range r.Rows {
		if row.Status == s {
			n++
		}
	}
	return n
}

// takeIn replaces rows of a report by those of a later run, and adds those that are new,
// in the order of the suite. They tell their own commit. Its error says that the runs are
// of different forms.
func (r *report) takeIn(later *report) error {
	if later.Form != r.Form {
		return fmt.Errorf("a %s run has no place in the results of a %s run", later.Form, r.Form)
	}
	for _, row := range later.Rows {
		row.Commit = later.Commit
		if i := slices.IndexFunc(r.Rows, func(old faults.Result) bool { return old.Row == row.Row }); i >= 0 {
			r.Rows[i] = row
		} else {
			r.Rows = append(r.Rows, row)
		}
	}
	place := make(map[string]int)
	for i, row := range faults.Rows() {
		place[row.Name] = i
	}
	slices.SortStableFunc(r.Rows, func(a, b faults.Result) int { return place[a.Row] - place[b.Row] })
	return nil
}

// verdict is nil if every row has passed.
func (r *report) verdict() error {
	if n := r.count(faults.Failed); n > 0 {
		return fmt.Errorf("%d of %d rows failed", n, len(r.Rows))
	}
	if r.count(faults.NotRun) > 0 {
		return errNotAllRun
	}
	return nil
}

// readme is what the README says of a run.
func (r *report) readme() string {
	return fmt.Sprintf("\n`%s` at commit `%s`, on %s, nats-server %s, %s, %s:\n\n%s\n",
		r.Command, r.Commit, r.Machine, r.Broker, r.Go, r.Date, r.markdown()) + r.totals() + "\n"
}

// summary is the end of what is printed: what failed once more, since a row's own
// line may be far above.
func (r *report) summary() string {
	var b strings.Builder
	for _, row := range r.Rows {
		for _, text := range row.Failures {
			fmt.Fprintf(&b, "FAILED: %s: %s\n", row.Row, text)
		}
	}
	return "\n" + b.String() + r.totals()
}

func (r *report) totals() string {
	var b strings.Builder
	sent, accepted, lost, twice, damaged := r.sums()
	fmt.Fprintf(&b, "%s webhooks sent, %s got 200: %s lost, %s stored twice.\n", faults.Thousands(sent), faults.Thousands(accepted), faults.Thousands(lost), faults.Thousands(twice))
	if damaged > 0 {
		fmt.Fprintf(&b, "%s more were lost with what was damaged on the only disk that had them.\n", faults.Thousands(damaged))
	}
	fmt.Fprintf(&b, "%d rows passed, %d failed, %d not run, in %s.\n", r.count(faults.Passed), r.count(faults.Failed), r.count(faults.NotRun), r.Took.Round(time.Second))
	return b.String()
}

// promise is the same for the front page.
func (r *report) promise() string {
	_, accepted, lost, twice, damaged := r.sums()
	text := fmt.Sprintf("%s webhooks got 200 while %d kinds of faults were made: %s lost, %s stored twice", faults.Thousands(accepted), r.count(faults.Passed), faults.Thousands(lost), faults.Thousands(twice))
	if damaged > 0 {
		text += fmt.Sprintf(", and %s lost that lay on the only disk, which was damaged", faults.Thousands(damaged))
	}
	return text
}

// sums are what the rows sent and lost, and what was lost with the damage that a row
// discloses; a control, which must lose something, does not count.
func (r *report) sums() (sent, accepted, lost, twice, damaged int) {
	for _, row := range r.Rows {
		sent, accepted = sent+row.Sent, accepted+row.Accepted
		switch {
		case row.Disclosed:
			damaged, twice = damaged+row.Lost.Total(), twice+row.Twice
		case !row.Control:
			lost, twice = lost+row.Lost.Total(), twice+row.Twice
		}
	}
	return sent, accepted, lost, twice, damaged
}

// markdown is the table that the README shows.
func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString("| fault | rounds | sent | got 200 | lost | stored twice | longest answer | recovered within | how |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		fault := fmt.Sprintf("**%s** `%s`", row.Fault, row.Row)
		if row.Commit != "" {
			fault += fmt.Sprintf(" (run again at `%s`)", row.Commit)
		}
		how := row.Injected
		for _, note := range row.Notes {
			how += ". " + strings.ToUpper(note[:1]) + note[1:]
		}
		cells := cells(row)
		switch row.Status {
		case faults.NotRun:
			cells = []string{"–", "–", "–", "not run: " + row.NotRun, "–", "–", "–"}
		case faults.Failed:
			how += ". **Failed**: " + strings.Join(row.Failures, "; ")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", fault, strings.Join(cells, " | "), how)
	}
	return b.String()
}

// cells are the figures of a row.
func cells(r faults.Result) []string {
	rounds := "–"
	if r.Rounds > 0 {
		rounds = faults.Thousands(r.Rounds)
	}
	return []string{rounds, faults.Thousands(r.Sent), faults.Thousands(r.Accepted), lostText(r.Lost), faults.Thousands(r.Twice), seconds(r.Slowest), seconds(r.Recovery)}
}

// lostText is how many were lost, and where.
func lostText(l faults.Lost) string {
	n := l.Total()
	if n == 0 {
		return "0"
	}
	var where []string
	for _, part := range []struct {
		n    int
		name string
	}{{l.Prefix, "prefix"}, {l.Middle, "middle"}, {l.End, "end"}} {
		if part.n > 0 {
			where = append(where, fmt.Sprintf("%s %s", faults.Thousands(part.n), part.name))
		}
	}
	return fmt.Sprintf("%s (%s)", faults.Thousands(n), strings.Join(where, ", "))
}

// seconds is a time, or a dash where there was none.
func seconds(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
}
