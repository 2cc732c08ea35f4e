package main

import (
	"io"
	"os"
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	for want, p := range map[string]*progress{
		"sending  ░░░░░░░░░░░░░░░░░░░░░░░░  0 of 10 webhooks, 0.00 a second":                  {total: 10, unit: "webhooks", doing: "sending"},
		"sending  ████████████░░░░░░░░░░░░  5,000 of 10,000 webhooks, 500 a second, 10s left": {total: 10000, n: 5000, unit: "webhooks", doing: "sending"},
		"3 failed  ████████████████████████  10 of 10 webhooks, 1.00 a second":                {total: 10, n: 10, unit: "webhooks", doing: "3 failed"},
		"asking  20 tasks, 2.00 a second": {n: 20, unit: "tasks", doing: "asking"},
		"replaying  ████████████████████████  11 of 10 events, 1.10 a second":            {total: 10, n: 11, unit: "events", doing: "replaying"},
		"sending  ██░░░░░░░░░░░░░░░░░░░░░░  1 of 10 webhooks, 0.10 a second, 1m30s left": {total: 10, n: 1, unit: "webhooks", doing: "sending"},
	} {
		p.past = []moments{{begin, 0}}
		if got := p.line(begin.Add(10*time.Second), barWidth); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What is no terminal gets no bar, and a bar that is none takes everything.
func TestProgressIsForTerminals(t *testing.T) {
	t.Parallel()
	file, err := os.Create(t.TempDir() + "/output")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, w := range []io.Writer{io.Discard, file} {
		p := newProgress(w, 10, "things", "doing")
		if p != nil {
			t.Fatal("there is a bar")
		}
		p.set(1, "doing")
		p.of(1, 2)
		p.describe("waiting")
		if err := p.aside(func() error { return io.EOF }); err != io.EOF {
			t.Error(err)
		}
		p.end()
		p.end()
	}
}
