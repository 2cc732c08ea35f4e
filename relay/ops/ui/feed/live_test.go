package feed

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

// What is there at the start is shown by when it was stored, whichever stream it is in, and
// what comes is shown behind it.
func TestLatest(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	for i := range 40 {
		b.publish(t, task(t, fmt.Sprint("task_", i), schema.StateSuccess, 0))
		b.publish(t, rejected(t, fmt.Sprint("body ", i)))
	}
	f := b.feed(t, 100)
	await(t, f, "the newest are shown", func() bool { items, _, _ := f.Latest(0); return len(items) == maxItems })
	b.publish(t, task(t, "task_live", schema.StateFailed, 0))
	await(t, f, "the next one is shown", func() bool { _, last, _ := f.Latest(0); return last == maxItems+1 })
	b.publish(t, rejected(t, "live"))
	await(t, f, "another one is shown", func() bool { _, last, _ := f.Latest(0); return last == maxItems+2 })
	items, last, leftOut := f.Latest(0)
	if len(items) != maxItems || last != maxItems+2 || leftOut != 0 {
		t.Errorf("%d items up to %d, %d left out", len(items), last, leftOut)
	}
	for i, item := range items {
		wantSequence, wantQuarantined := uint64(41), i%2 == 1
		if i < maxItems-2 {
			wantSequence = uint64(40 - (maxItems-3-i)/2)
		}
		if item.Serial != uint64(i+3) || item.Quarantined != wantQuarantined || item.Message.Sequence != wantSequence || item.Message.Err != nil || item.Message.Stored.IsZero() {
			t.Errorf("item %d: serial %d, sequence %d, want %d, %v", i, item.Serial, item.Message.Sequence, wantSequence, item.Message.Err)
		}
	}
	if id := items[maxItems-2].Message.Event.ID; id != "task_live" {
		t.Errorf("%q", id)
	}
	if items, last, _ := f.Latest(last - 1); len(items) != 1 || string(items[0].Message.Event.Data) != "live" || last != maxItems+2 {
		t.Errorf("%d items up to %d", len(items), last)
	}
}

// A message of a stream that was made anew meanwhile is not shown any more.
func TestLatestOfAnOldStream(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	f := b.newFeed(t, 100)
	created := time.Now()
	f.quarantine.status.Created = created
	h := head{stream: f.quarantine, created: created.Add(-time.Hour), message: streamreader.Message{Sequence: 9}, show: true}
	f.show(t.Context(), h)
	h.created, h.message.Sequence = created, 1
	f.show(t.Context(), h)
	if items, _, _ := f.Latest(0); len(items) != 1 || items[0].Message.Sequence != 1 {
		t.Errorf("%+v", items)
	}
}

// Of a flood some are shown, failures among them, and the others are counted.
func TestLatestInAFlood(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	now := time.Now()
	f := b.newFeed(t, 100)
	f.o.Now = func() time.Time { return now } // so that the limits give nothing more
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer stop(t, f)
	awaitFilled(t, f)
	const n = 200
	for i := range n {
		b.publish(t, task(t, fmt.Sprint("task_", i), schema.StateSuccess, 0))
	}
	b.publish(t, task(t, "task_failed", schema.StateFailed, 0))
	b.publish(t, conflict(t, "task_1"))
	await(t, f, "all are shown or left out", func() bool {
		_, last, leftOut := f.Latest(0)
		return last+leftOut == n+2
	})
	items, _, leftOut := f.Latest(0)
	shown := make(map[string]int)
	for _, item := range items {
		shown[item.Message.Event.Type]++
	}
	if leftOut != n-shownBurst || shown[schema.TypeTaskSuccess] != shownBurst || shown[schema.TypeTaskFailed] != 1 || shown[schema.TypeWebhookConflict] != 1 {
		t.Errorf("shown %v, %d left out", shown, leftOut)
	}
}

// Large messages do not pile up.
func TestLatestIsBounded(t *testing.T) {
	t.Parallel()
	var l latest
	for i := range uint64(40) {
		l.add(schema.DefaultQuarantine, true, streamreader.Message{Sequence: i + 1, Data: make([]byte, 600<<10)})
	}
	items, last, _ := l.after(0)
	if want := maxItemBytes / (600 << 10); len(items) != want || last != 40 || items[want-1].Message.Sequence != 40 {
		t.Errorf("%d items up to %d, want %d", len(items), last, want)
	}
	l.add(schema.DefaultQuarantine, true, streamreader.Message{Sequence: 41, Data: make([]byte, maxItemBytes+1)})
	if items, _, _ := l.after(0); len(items) != 1 || items[0].Message.Sequence != 41 {
		t.Errorf("%d items, want the one that is too large alone", len(items))
	}
}

// Where the newest messages are too large for a slow connection, a few of them are shown.
func TestLatestOverASlowConnection(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	for i := range 20 {
		b.publish(t, rejected(t, fmt.Sprint("body ", i)))
	}
	f := b.newFeed(t, 100)
	for _, c := range []struct{ most, want int }{{50, 20}, {12, 12}, {3, 3}, {2, 0}} {
		var got []streamreader.Message
		err := tryFewer(t.Context(), b.conn.IsConnected, func(size int) error {
			if size > c.most {
				return context.DeadlineExceeded
			}
			page, err := f.newest(t.Context(), schema.DefaultQuarantine, size)
			got = page.Messages
			return err
		})
		if err != nil || len(got) != c.want || c.want > 0 && got[0].Sequence != 20 {
			t.Errorf("at most %d: %d messages, %v, want %d", c.most, len(got), err, c.want)
		}
	}
	// A connection that is lost is waited for.
	var sizes []int
	err := tryFewer(t.Context(), func() bool { return false }, func(size int) error {
		if sizes = append(sizes, size); len(sizes) <= historyTries {
			return errAway
		}
		return nil
	})
	if err != nil || !slices.Equal(sizes, []int{maxItems, maxItems, maxItems, maxItems}) {
		t.Errorf("tried for %d, %v", sizes, err)
	}
}

// Each message of the last hour is counted in its minute, however few the index has, and events
// are measured, whether they were there or came later.
func TestMinutes(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	const n = firstWindow + 500
	for i := range n {
		state := schema.StateSuccess
		if i%10 == 0 {
			state = schema.StateFailed
		}
		b.publish(t, task(t, fmt.Sprint("task_", i), state, time.Hour))
	}
	b.publish(t, rejected(t, "old"))
	f := b.feed(t, 10)
	awaitFilled(t, f)
	sum := func() (s Minute) {
		for _, m := range f.Minutes() {
			s.Success, s.Failed, s.Rejected, s.Conflict, s.Missing = s.Success+m.Success, s.Failed+m.Failed, s.Rejected+m.Rejected, s.Conflict+m.Conflict, s.Missing+m.Missing
			s.LagSamples += m.LagSamples
			s.LagMax = max(s.LagMax, m.LagMax)
		}
		return s
	}
	await(t, f, "the old ones are measured", func() bool { return sum().LagSamples >= lagSamples })
	b.publish(t, task(t, "task_live", schema.StateFailed, 2*time.Hour))
	b.publish(t, rejected(t, "new"))
	b.publish(t, conflict(t, "task_1"))
	missing, err := encoder.Missing(schema.MissingTask{ID: "task_2", Announced: time.Now()}, "given-up", "it was given up", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.publish(t, missing)
	await(t, f, "all are counted", func() bool {
		s := sum()
		return s.Success == n-n/10 && s.Failed == n/10+1 && s.Rejected == 2 && s.Conflict == 1 && s.Missing == 1
	})
	minutes := f.Minutes()
	if len(minutes) != hour+1 || !slices.IsSortedFunc(minutes, func(a, b Minute) int { return a.At.Compare(b.At) }) || minutes[0].At.Second() != 0 ||
		time.Since(minutes[hour].At) > 2*time.Minute || minutes[hour].At.Sub(minutes[0].At) != hour*time.Minute {
		t.Errorf("%d minutes from %s to %s", len(minutes), minutes[0].At, minutes[len(minutes)-1].At)
	}
	for _, m := range minutes {
		if m.LagSamples > 0 && (m.LagMedian < time.Hour || m.LagMedian > time.Hour+5*time.Minute || m.LagMax < m.LagMedian) {
			t.Errorf("%+v", m)
		}
	}
}

// What is older than an hour does not count, a minute is measured by few events however many
// it has, and a broker whose clock is ahead changes nothing of that.
func TestMinutesOfTheLastHour(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 30, 30, 0, time.UTC)
	var m, window minutes
	for ago := range 120 {
		at := now.Add(-time.Duration(ago) * time.Minute)
		for i := range 100 {
			window.count(kindSuccess, at, now)
			window.offer(uint64(10_000-100*ago+i), at)
		}
		m.count(kindFailed, at, now)
	}
	m.add(&window)
	m.add(&minutes{})
	m.count(kindFailed, now.Add(time.Minute), now)
	for i, told := range m.report(now) {
		wantSuccess, wantFailed := 100, 1
		if i == hour {
			wantSuccess = 0 // by the broker's clock it is a minute later
		}
		if told.Success != wantSuccess || told.Failed != wantFailed || !told.At.Equal(now.Add(time.Duration(i-hour+1)*time.Minute).Truncate(time.Minute)) {
			t.Errorf("minute %d: %+v", i, told)
		}
	}
	if _, ok := m.nextCandidate(); ok {
		t.Error("it is measured before all are known")
	}
	m.ready = true
	perMinute := make(map[int64]int)
	last := minuteOf(now)
	for c, ok := m.nextCandidate(); ok; c, ok = m.nextCandidate() {
		perMinute[minuteOf(c.stored)]++
		if minuteOf(c.stored) > last {
			t.Error("an older minute is measured before a newer one")
		}
		last = minuteOf(c.stored)
		m.measure(c.stored, now, time.Second)
	}
	if len(perMinute) != hour {
		t.Errorf("%d minutes are measured", len(perMinute))
	}
	for _, n := range perMinute {
		if n != lagSamples {
			t.Errorf("a minute is measured by %d events", n)
		}
	}
	m.forget(kindSuccess)
	for _, told := range m.report(now) {
		if told.Success != 0 || told.Failed != 1 || told.LagSamples != 0 {
			t.Errorf("%+v", told)
		}
	}
}

// What is in the quarantine is counted by reason and found by task, whatever its body is.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]event.Mode{"structured": event.Structured, "binary": event.Binary} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTestBroker(t)
			binary := encoder
			binary.Mode = mode
			encode := func(body string) event.Message {
				m, err := binary.Encode(event.Delivery{Body: []byte(body), Received: time.Now()})
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			b.publish(t, encode(`{"taskId" : "task_a","state":`))                                                       // 1
			b.publish(t, conflict(t, "task_a"))                                                                         // 2
			b.publish(t, encode(`{"code":200,"data":{"taskId":"task_b","state":"no"}}`))                                // 3
			if _, err := b.js.Publish(t.Context(), "apixo.quarantine.other", []byte(`"taskId":"task_a"`)); err != nil { // 4
				t.Fatal(err)
			}
			f := b.feed(t, 100)
			awaitFilled(t, f)
			b.publish(t, encode(`nothing`))                 // 5
			b.publish(t, encode(`{"taskId":"task_a"} etc`)) // 6
			await(t, f, "all are known", func() bool {
				items, _, _ := f.Latest(0)
				return f.Status().Quarantine.Indexed == 6 && len(items) == 6
			})
			counts, whole := f.Reasons()
			want := []ReasonCount{{schema.CodeSyntax, 2}, {"", 1}, {schema.ReasonConflict, 1}, {schema.CodeState, 1}, {schema.CodeTrailingData, 1}}
			if !slices.Equal(counts, want) || !whole {
				t.Errorf("%v, %v", counts, whole)
			}
			for id, want := range map[string][]uint64{"task_a": {6, 4, 2, 1}, "task_b": {3}, "": nil, "task_c": nil} {
				if got := f.Quarantined(id); !slices.Equal(got, want) {
					t.Errorf("%q: %v, want %v", id, got, want)
				}
			}
			s, err := b.js.Stream(t.Context(), schema.DefaultQuarantine)
			if err != nil {
				t.Fatal(err)
			}
			for _, sequence := range []uint64{2, 4} {
				if err := s.DeleteMsg(t.Context(), sequence); err != nil {
					t.Fatal(err)
				}
			}
			f.Forget(2)
			if counts, _ := f.Reasons(); slices.Contains(counts, ReasonCount{schema.ReasonConflict, 1}) {
				t.Errorf("%v", counts)
			}
			await(t, f, "it is noticed what somebody else deletes", func() bool {
				items, _, _ := f.Latest(0)
				return slices.Equal(f.Quarantined("task_a"), []uint64{6, 1}) && len(items) == 4
			})
		})
	}
}

// Reasons that somebody makes up do not fill the memory.
func TestReasonsAreBounded(t *testing.T) {
	t.Parallel()
	var q quarantineIndex
	for i := range 1000 {
		q.entries = append(q.entries, keptEntry{sequence: uint64(i), reason: q.reason(fmt.Sprint("r", i))})
	}
	counts := q.counts()
	if len(counts) != maxReasons+1 || counts[0] != (ReasonCount{"", 1000 - maxReasons}) {
		t.Errorf("%d reasons, %v", len(counts), counts[0])
	}
}

// What comes to the quarantine does not fill the memory either, and what is not known any more is
// told.
func TestQuarantineIndexIsBounded(t *testing.T) {
	t.Parallel()
	q := quarantineIndex{from: 1}
	for i := range uint64(2 * maxKept) {
		q.append(keptEntry{sequence: i + 1, hash: uint32(i), about: true})
		if len(q.entries) > maxKept+maxKept/8 || len(q.entries) < min(int(i)+1, maxKept) || q.entries[0].sequence != q.from {
			t.Fatalf("after %d it has %d from %d on", i+1, len(q.entries), q.from)
		}
	}
	if got := q.find(2*maxKept - 1); !slices.Equal(got, []uint64{2 * maxKept}) {
		t.Errorf("%v", got)
	}
}
