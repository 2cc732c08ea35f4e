package main

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"
)

func TestStatistics(t *testing.T) {
	t.Parallel()
	if got := median([]number{9, notMeasured, 1, 2}); got != 2 {
		t.Errorf("median %v", got)
	}
	if got := median([]number{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median %v", got)
	}
	if got := median([]number{notMeasured}); got.known() {
		t.Errorf("median of nothing %v", got)
	}
	var samples []uint32
	for us := range uint32(200) {
		samples = append(samples, 200-us)
	}
	if got := percentile(samples, 99); got != 198*time.Microsecond {
		t.Errorf("p99 %v", got)
	}
	if got := percentile([]time.Duration{}, 50); got != 0 {
		t.Errorf("p50 of nothing %v", got)
	}
	if text, err := json.Marshal([]number{notMeasured, 0.12345678}); err != nil || string(text) != "[null,0.123457]" {
		t.Errorf("%s, %v", text, err)
	}
}

// invented is a record of two rounds, of a machine that drifts.
func invented() *record {
	r := &record{Rounds: 2, DurationSeconds: 1.5, IdleSeconds: 60, Facts: facts{CPU: "<&>", BinaryMiB: 26, Ready: notMeasured}}
	of := func(id string, perSecond, cpu number) *receiver {
		fast := round{stored: 10, perSecond: perSecond, p50: 1, p99: 2, cpu: cpu, brokerCPU: notMeasured, anon: 9}
		slow := fast
		slow.perSecond, slow.cpu = perSecond/2, 2*cpu
		return &receiver{id: id, name: id, rounds: []round{fast, slow}}
	}
	for _, load := range []string{"1", "64", "200/s"} {
		always := of(idAlways, 5_000, 90)
		if load == "64" {
			always.rounds[1].failures = map[string]int{"503 Service Unavailable": 3}
		}
		r.take(load, []*receiver{of(idFloor, 60_000, 15), of(idNaive, 10_000, 30), of(idExternal, 20_000, 27), always, of(idInterval, 20_000, notMeasured)})
	}
	r.Idle = []idleRow{{Receiver: idExternal, CPU: 0.01}, {Receiver: idAlways, CPU: 0.2}, {Receiver: idBroker, CPU: 0.19}}
	r.Targets = r.goals()
	return r
}

// Targets are judged by ratios made within a round, and not where something is
// missing.
func TestGoals(t *testing.T) {
	t.Parallel()
	want := []string{"met", "not met", "met", "not met", "not met", "met", "not measured", "not measured", "not met", "met", "not measured", "not measured", "met", "met", "met", "met"}
	lines := strings.Split(strings.TrimSpace(invented().goalsTable().text("llll")), "\n")[2:]
	if len(lines) != len(want) {
		t.Fatalf("%d targets", len(lines))
	}
	for i, line := range lines {
		if !strings.HasSuffix(line, "  "+want[i]) {
			t.Errorf("%s, want %s", line, want[i])
		}
	}
	if !strings.Contains(lines[0], "0.900 × naive") || !strings.Contains(lines[8], "0.250 × interval") {
		t.Error(strings.Join(lines, "\n"))
	}
	r := invented()
	r.Facts.Against = "v1"
	if got := len(r.goals()) - len(want); got != 4 {
		t.Errorf("%d more targets with another relay", got)
	}
}

func TestTablesAndPlot(t *testing.T) {
	t.Parallel()
	r := invented()
	var text strings.Builder
	if err := r.writeText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"external broker   naive handler  1 connection        2.00 ×  1.00 ×  1.00 ×  0.900 ×\n",
		"always !       3,750    1.00",
		"! always, 64 connections: 3 of 23 webhooks failed\n    3 × 503 Service Unavailable\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if want := "| external broker | naive handler | 64 connections | 2.00 × | 1.00 × | 1.00 × | 0.900 × |\n"; !strings.Contains(r.readme(), want) {
		t.Errorf("no %q in\n%s", want, r.readme())
	}
	if r.failed() != 3 {
		t.Errorf("%d failed", r.failed())
	}
	parseXML(t, r.plot())
	// Where nothing could be measured there is still a picture.
	parseXML(t, (&record{Rows: []row{{PerSecond: notMeasured}}}).plot())
}

// A record is read as it was written, what was not measured not excepted.
func TestRecordedAndRead(t *testing.T) {
	t.Parallel()
	var written, again strings.Builder
	var read record
	if err := invented().writeJSON(&written); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(written.String()), &read); err != nil {
		t.Fatal(err)
	}
	if err := read.writeJSON(&again); err != nil || again.String() != written.String() || read.Facts.Ready.known() {
		t.Errorf("%v, %s, was %s", err, again.String(), written.String())
	}
}

var update = flag.Bool("update", false, "write the tables and the picture of full.json")

// The README, its picture, and what other pages promise show the run of full.json.
func TestReadme(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- bench: made from full.json by 'go test ./cmd/relay-bench -run Readme -update' -->\n", "<!-- /bench -->"
	var r record
	recorded, err := os.ReadFile("full.json")
	if err == nil {
		err = json.Unmarshal(recorded, &r)
	}
	page, err2 := os.ReadFile("README.md")
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the README has no place for the tables")
	}
	files := map[string]string{
		"README.md":       before + begin + r.readme() + end + after,
		"relay-bench.svg": string(r.plot()),
	}
	for file, names := range map[string][]string{"../../README.md": {"cheap", "fast", "small"}, "../../deploy/SCALING.md": {"accounts", "embedded", "external", "stream"},
		"../../deploy/kubernetes/README.md": {"webhook", "autoscaler"}, "../../relay/README.md": {"idle", "memory"}} {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if files[file], err = r.insert(string(page), names...); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for file, want := range files {
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Error(err)
			}
		} else if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s shows another run: go test ./cmd/relay-bench -run Readme -update (%v)", file, err)
		}
	}
}

// What is read of the system is of this very process and disk.
func TestSystem(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system has no /proc")
	}
	if rss, peak := memory(os.Getpid(), "VmRSS"), memory(os.Getpid(), "RssAnon"); !(rss > 0) || !(peak > 0) {
		t.Errorf("memory %v, peak %v", rss, peak)
	}
	if _, ok := cpuTime(os.Getpid()); !ok {
		t.Error("no CPU time")
	}
	if _, ok := cpuTime(-1); ok || memory(-1, "VmRSS").known() {
		t.Error("measured what is not there")
	}
	if got := filesystem("/proc/self"); got != "proc" {
		t.Errorf("/proc is %s", got)
	}
	if got := filesystem(t.TempDir()); strings.Contains(got, "unknown") {
		t.Errorf("the temporary folder is %s", got)
	}
}

// The disk is fsynced to be measured, and to be left alone.
func TestDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	took, err := probeFsync(dir)
	if err != nil || len(took) == 0 {
		t.Errorf("%v, %v", took, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	settle(dir)
	settle(dir + "/nowhere")
}
