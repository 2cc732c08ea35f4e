package ui

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/ops/ui/feed"
	"github.com/apixo-relay/apixo-relay/schema"
)

func TestScale(t *testing.T) {
	t.Parallel()
	for most, want := range map[float64]float64{0: 1, 1: 1, 2: 2, 3: 5, 5: 5, 6: 10, 10: 10, 11: 20, 99: 100, 100: 100, 101: 200, 999: 1000, 1000: 1000, 1001: 2000, 123_456: 200_000, 1e15: 1e15} {
		if got := scale(most); got != want {
			t.Errorf("up to %v it goes to %v, want %v", most, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 1: "1", 500: "500", 5000: "5000", 10_000: "10k", 12_500: "12.5k", 1e6: "1M", 2.5e6: "2.5M", 5e9: "5000M"} {
		if got := compact(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}

// number is a coordinate.
func number(t *testing.T, s string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// inside wants what a chart draws within its place.
func (c chart) inside(t *testing.T, name string, bars int) {
	t.Helper()
	if len(c.Bars) != bars {
		t.Errorf("%s: %d bars, want %d", name, len(c.Bars), bars)
	}
	for _, b := range c.Bars {
		x, y, width, height := number(t, b.X), number(t, b.Y), number(t, b.Width), number(t, b.Height)
		if x < 0 || x+width > chartRight+0.1 || y < chartTop-2.1 || height < 1 || y+height > chartBottom+0.1 || width <= 0 {
			t.Errorf("%s: a bar is outside: %+v", name, b)
		}
	}
	last := ""
	for _, g := range c.Grid {
		if y := number(t, g.Y); y < chartTop || y > chartBottom || g.Label == last {
			t.Errorf("%s: a line is outside, or has the label of another: %+v", name, g)
		}
		last = g.Label
	}
	if len(c.Grid) < 2 || c.Text == "" {
		t.Errorf("%s: %d lines, and the words %q", name, len(c.Grid), c.Text)
	}
}

func TestCharts(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	hour := func(n int, change func(i int, m *feed.Minute)) (minutes []feed.Minute) {
		for i := range n {
			m := feed.Minute{At: at.Add(time.Duration(i) * time.Minute)}
			change(i, &m)
			minutes = append(minutes, m)
		}
		return minutes
	}
	quiet := func(int, *feed.Minute) {}
	busy := func(_ int, m *feed.Minute) {
		m.Success, m.Failed, m.Rejected, m.Conflict, m.Missing = 10_000_000, 1, 1, 1, 1
		m.LagMedian, m.LagMax, m.LagSamples = time.Second, 30*24*time.Hour, 5
	}
	for _, test := range []struct {
		name              string
		minutes           []feed.Minute
		bars, lags, ticks int
	}{
		{"none", nil, 0, 0, 0},
		{"quiet", hour(61, quiet), 0, 0, 3},
		{"one minute", hour(1, busy), 3, 2, 3},
		{"busy", hour(61, busy), 3 * 61, 2 * 61, 3},
		{"one event", hour(61, func(i int, m *feed.Minute) {
			if i == 60 {
				m.Success, m.LagSamples = 1, 1
			}
		}), 1, 2, 3},
	} {
		events, lags := eventsChart(test.minutes), lagChart(test.minutes)
		events.inside(t, test.name+", events", test.bars)
		lags.inside(t, test.name+", lags", test.lags)
		if len(events.Ticks) != test.ticks || len(lags.Ticks) != test.ticks {
			t.Errorf("%s: %d and %d ticks", test.name, len(events.Ticks), len(lags.Ticks))
		}
		templates := parseTemplates()
		for part, data := range map[string]chart{"events-chart": events, "lag-chart": lags} {
			var b strings.Builder
			if err := templates.ExecuteTemplate(&b, part, data); err != nil {
				t.Fatal(err)
			}
			svg, _, _ := strings.Cut(b.String(), "<p")
			for d := xml.NewDecoder(strings.NewReader(svg)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: %s is no XML: %v", test.name, part, err)
				}
			}
		}
	}
	c := eventsChart(hour(61, func(i int, m *feed.Minute) { m.Success, m.Failed, m.Missing = i, 1, 2 }))
	if c.Success != 1830 || c.Failed != 61 || c.Quarantined != 122 || !strings.Contains(c.Text, "1,830 events tell a success, 61 a failure, and 122 deliveries were quarantined; 63 in the fullest minute") {
		t.Errorf("it says %q of %d, %d, %d", c.Text, c.Success, c.Failed, c.Quarantined)
	}
	// From 10 ms to 10 s there are three powers of ten, each as high.
	lags := lagChart(hour(2, func(i int, m *feed.Minute) {
		m.LagSamples, m.LagMax, m.LagMedian = 1, 10*time.Second, []time.Duration{100 * time.Millisecond, time.Second}[i]
	}))
	if got, want := number(t, lags.Bars[1].Y)-number(t, lags.Bars[3].Y), (chartBottom-chartTop)/3; got < want-0.2 || got > want+0.2 {
		t.Errorf("0.1 s and 1 s are %v apart, want %v", got, want)
	}
}

func TestElapsed(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour: "less than a second", 0: "less than a second", 999 * time.Millisecond: "less than a second", time.Second: "1 s", 59*time.Second + 999*time.Millisecond: "59 s",
		time.Minute: "1 min 0 s", 61 * time.Second: "1 min 1 s", 59*time.Minute + 59*time.Second: "59 min 59 s", time.Hour: "1 h 0 min", 25*time.Hour + 61*time.Second: "25 h 1 min",
		48 * time.Hour: "2 d 0 h", 7*24*time.Hour + 5*time.Hour: "7 d 5 h", 1<<63 - 1: "106751 d 23 h",
	} {
		if got := elapsed(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

// What is shown to be typed is one word for a shell, whatever it is.
func TestShellWord(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "a", "a b", "it's", `"`, `\`, `$HOME`, "`id`", "$(id)", "a;b", "a&b", "*", "~", "~root", "!", "#", "a\nb", "é", "-x", "{a,b}", "[a]", "a|b", ">x", "%s", "%", "a=b", "''", `'\''`, "\t", "task_1:x", "http://a/b?c=d&e"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '<%s>' "+shellWord(word)).Output()
		if err != nil {
			t.Fatalf("%q: %v", word, err)
		}
		if got := string(out); got != "<"+word+">" {
			t.Errorf("%q is written %s, which is %q", word, shellWord(word), got)
		}
	}
}

// A form comes back from an address as it was.
func TestFormQuery(t *testing.T) {
	t.Parallel()
	f := form{Since: "1h", Until: "1m", FromSeq: "1", ToSeq: "2", State: "failed", Task: "a:b", Model: "m n", FailCode: "X", Reason: "r", Quarantine: true}
	if got := formOf(f.query()); got != f {
		t.Errorf("%+v comes back as %+v", f, got)
	}
	values, err := url.ParseQuery(f.query().Encode())
	if err != nil || formOf(values) != f {
		t.Errorf("%v, %v", values, err)
	}
	if got := link("/events", form{}.query(), 0); got != "/events" {
		t.Errorf("without anything the link is %q", got)
	}
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	write := func(steps []step) string {
		var words []string
		for _, s := range steps {
			words = append(words, fmt.Sprintf("%s %s (%s) %v", s.Name, s.At.Format("15:04:05"), s.Note, s.Future))
		}
		return strings.Join(words, "; ")
	}
	for _, test := range []struct {
		task schema.Task
		want string
	}{
		{schema.Task{State: schema.StateSuccess}, "stored 11:00:00 () false"},
		{schema.Task{State: schema.StateSuccess, CreateTime: now.Add(-2 * time.Hour), CompleteTime: now.Add(-90 * time.Minute)},
			"created 10:00:00 () false; completed 10:30:00 (30 min 0 s later) false; stored 11:00:00 (30 min 0 s later) false; addresses expire 10:30:00 (in 22 h 30 min) true"},
		{schema.Task{State: schema.StateFailed, CompleteTime: now.Add(-90 * time.Minute)}, "completed 10:30:00 () false; stored 11:00:00 (30 min 0 s later) false"},
		{schema.Task{State: schema.StateSuccess, CompleteTime: now.Add(-26 * time.Hour)}, "completed 10:00:00 () false; stored 11:00:00 (25 h 0 min later) false; addresses expire 10:00:00 (2 h 0 min ago) false"},
		{schema.Task{State: schema.StateFailed, CreateTime: now.Add(time.Hour), CompleteTime: now.Add(30 * time.Minute)}, "stored 11:00:00 () false; completed 12:30:00 () true; created 13:00:00 () true"},
	} {
		got := write(timeline(test.task, now.Add(-time.Hour), now))
		if strings.Contains(test.want, "26") || test.task.CompleteTime.Equal(now.Add(-26*time.Hour)) {
			// By time, and the addresses have expired before the event was stored.
			test.want = "completed 10:00:00 () false; addresses expire 10:00:00 (2 h 0 min ago) false; stored 11:00:00 (25 h 0 min later) false"
		}
		if got != test.want {
			t.Errorf("%+v:\n%s, want\n%s", test.task, got, test.want)
		}
	}
}

// What takes a while is found once for all, shown while it is new, and given up by nobody.
func TestCached(t *testing.T) {
	t.Parallel()
	var c cached[int]
	calls, release, begun := 0, make(chan struct{}), make(chan struct{})
	find := func(context.Context) int {
		calls++
		close(begun)
		<-release
		return calls
	}
	gone, cancel := context.WithCancel(t.Context())
	results := make(chan int, 3)
	go func() {
		_, _, ok := c.get(gone, time.Hour, find)
		if ok {
			t.Error("whoever has gone is told something")
		}
		results <- 0
	}()
	<-begun
	for range 2 {
		go func() {
			v, _, _ := c.get(t.Context(), time.Hour, find)
			results <- v
		}()
	}
	cancel()
	if v := <-results; v != 0 {
		t.Errorf("found by who does not wait: %d", v)
	}
	close(release)
	for range 2 {
		if v := <-results; v != 1 {
			t.Errorf("found %d", v)
		}
	}
	if v, _, ok := c.get(gone, time.Hour, nil); v != 1 || !ok {
		t.Errorf("what is new is found again: %d, %v", v, ok)
	}
	begun = make(chan struct{})
	if v, _, _ := c.get(t.Context(), 0, find); v != 2 {
		t.Errorf("what is old is not: %d", v)
	}
}

// A replay's progress is told at once at its end, and else not too often; nothing is missed.
func TestJobsTell(t *testing.T) {
	t.Parallel()
	var j jobs
	one := &job{}
	results := make(chan struct{})
	run := func(ctx context.Context, o replay.Options) (replay.Summary, error) {
		for i := range 1000 {
			o.OnProgress(replay.Progress{Read: i, Total: 1000})
		}
		<-results
		return replay.Summary{Read: 1000, ResumeSequence: 1}, nil
	}
	first := j.changed()
	if err := j.start(one, run, replay.Options{}); err != nil {
		t.Fatal(err)
	}
	<-first
	if err := j.start(&job{}, run, replay.Options{}); !errors.Is(err, errBusy) {
		t.Errorf("two at once: %v", err)
	}
	for told := 0; ; told++ {
		changed := j.changed()
		if v := j.view(false); strings.Contains(v.Progress, "999 of 1,000") && v.Percent == 99 {
			break
		}
		if <-changed; told > 10 {
			t.Fatal("it is told of each step")
		}
	}
	changed := j.changed()
	close(results)
	<-changed
	if v := j.view(false); v.Running || v.State != "The replay is done" {
		t.Errorf("at the end it is %+v", v)
	}
	j.close(t.Context())
	if err := j.start(&job{}, run, replay.Options{}); err == nil || errors.Is(err, errBusy) {
		t.Errorf("one begins after the end: %v", err)
	}
}
