package main

import (
	"encoding/json"
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

// invented is a report with two rounds, of a machine that drifts.
func invented() *report {
	r := &report{startups: []number{40, 60, 500}, facts: facts{CPU: "<&>", BinaryMiB: 26}}
	of := func(id string, perSecond, cpu, peak number) *receiver {
		fast := round{stored: 10, perSecond: perSecond, p50: 1, p99: 2, cpu: cpu, brokerCPU: notMeasured, loadCPU: 1, fsync: 0.5}
		slow := fast
		slow.perSecond, slow.cpu = perSecond/2, 2*cpu
		return &receiver{id: id, name: id, rounds: []round{fast, slow}, peak: peak, idle: 20}
	}
	for _, n := range []int{1, 64} {
		r.results = append(r.results, result{n, []*receiver{
			of(idFloor, 60_000, 15, 10), of(idExternal, 20_000, 27, 30), of(idAlways, 5_000, 90, notMeasured), of(idInterval, 20_000, notMeasured, 30),
		}})
	}
	r.results[1].receivers[2].rounds[1].failed = 3
	r.results[1].receivers[2].rounds[1].failures = map[string]int{"503 Service Unavailable": 3}
	return r
}

// Targets are judged by ratios made within a round, and not where something is
// missing.
func TestGoals(t *testing.T) {
	t.Parallel()
	want := []string{"met", "not measured", "not measured", "not met", "not measured", "met", "not met", "met"}
	lines := strings.Split(strings.TrimSpace(invented().goalsTable()), "\n")[2:]
	for i, line := range lines {
		if !strings.HasSuffix(line, "  "+want[i]) {
			t.Errorf("%s, want %s", line, want[i])
		}
	}
	if !strings.Contains(lines[0], "1.80 × floor") || !strings.Contains(lines[3], "0.500 ms") || !strings.Contains(lines[7], "60.0 ms") {
		t.Error(strings.Join(lines, "\n"))
	}
}

func TestTableAndPlot(t *testing.T) {
	t.Parallel()
	r := invented()
	text := r.figures()
	for _, want := range []string{
		"floor         45,000     1.00 ",
		"always !       3,750    0.083 ",
		"! always, 64 connections: 3 of 23 webhooks failed\n    3 × 503 Service Unavailable\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if r.failed() != 3 {
		t.Errorf("%d failed", r.failed())
	}
	parseXML(t, r.plot())
	// Where nothing could be measured there is still a picture.
	for _, one := range r.results[0].receivers {
		one.rounds = nil
	}
	r.results = r.results[:1]
	parseXML(t, r.plot())
}

// What is read of the system is of this very process and disk.
func TestSystem(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system has no /proc")
	}
	if rss, peak := memory(os.Getpid(), "VmRSS"), memory(os.Getpid(), "VmHWM"); !(rss > 0) || !(peak > 0) {
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
