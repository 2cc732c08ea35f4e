package replay_test

import (
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
)

var manyEvents = flag.Int("events", 15_000, "how many events are replayed in bounded memory")

// However many events are stored, and whatever becomes of them, what a replay keeps
// of them is little. It is not parallel, so that others' memory is not in the way.
func TestBoundedMemory(t *testing.T) {
	if underRace {
		t.Skip("the race detector's memory is not the program's")
	}
	// The reader's prefetch of 8 MiB, and what the server in this process caches: blocks of
	// 8 MiB that it has read within 2 s. What is stored takes 60 MiB and more.
	const maxGrowth = 40 << 20
	s := newStore(t)
	s.stream(t, jetstream.StreamConfig{Name: "TARGET", Subjects: []string{"target"}, MaxMsgs: 100, Storage: jetstream.MemoryStorage})
	encoder := event.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo"}
	filler := strings.Repeat("x", 4000)
	for i := range *manyEvents {
		s.webhook(t, encoder, fmt.Sprintf(`{"data":{"taskId":%q,"state":"failed","failMsg":%q}}`, id(i), filler))
	}
	s.flush(t)
	failing := failingTransport(t)
	for _, tt := range []struct {
		name      string
		target    func() replay.Target
		delivered int
	}{
		{"lines", func() replay.Target { return replay.Lines(io.Discard) }, *manyEvents},
		{"subject", func() replay.Target { target, _ := natsTarget(t, s, subject("target")); return target }, *manyEvents},
		{"URL that takes nothing", func() replay.Target { return replay.HTTP(failing) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, most := heap(), uint64(0)
			o := all(1)
			o.Concurrency = 64
			o.OnProgress = func(p replay.Progress) {
				if p.Read%(*manyEvents/5) == 0 {
					most = max(most, heap())
				}
			}
			summary := run(t.Context(), t, s, tt.target(), o)
			if summary.Delivered != tt.delivered || summary.Read != *manyEvents {
				t.Errorf("%+v", summary)
			}
			t.Logf("%d MiB before, %d MiB at most, in %.1f s", before>>20, most>>20, summary.DurationSeconds)
			if most > before+maxGrowth {
				t.Errorf("the heap grew from %d to %d MiB", before>>20, most>>20)
			}
		})
	}
}

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
