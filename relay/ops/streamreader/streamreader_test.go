package streamreader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// testBroker has a stream with the subjects a.x and a.y in turn, from sequence 1 to n.
type testBroker struct {
	url  string
	conn *nats.Conn
	js   jetstream.JetStream
}

func newTestBroker(t *testing.T, n int) *testBroker {
	t.Helper()
	server := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, server.ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}}); err != nil {
		t.Fatal(err)
	}
	b := &testBroker{url: server.ClientURL(), conn: js.Conn(), js: js}
	for range n {
		b.publish(t)
	}
	return b
}

func (b *testBroker) publish(t *testing.T) {
	t.Helper()
	stream, err := b.js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	next := stream.CachedInfo().State.LastSeq + 1
	if _, err := b.js.Publish(t.Context(), "a."+string("yx"[next%2]), fmt.Appendf(nil, "%d", next), jetstream.WithMsgID(fmt.Sprint(next))); err != nil {
		t.Fatal(err)
	}
}

// read returns the sequences that a selection has.
func (b *testBroker) read(t *testing.T, s Selection) (sequences []uint64) {
	t.Helper()
	s.Stream = "S"
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := Read(ctx, b.conn, s, nil, func(m Message) error {
		sequences = append(sequences, m.Sequence)
		return nil
	}); err != nil {
		t.Errorf("%+v: %v", s, err)
	}
	if ctx.Err() != nil {
		t.Errorf("%+v: it does not end", s)
	}
	return sequences
}

func TestReadEndsWithTheSelection(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 5)
	stream, err := b.js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	at := func(sequence uint64) time.Time {
		m, err := stream.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		return m.Time
	}
	for name, test := range map[string]struct {
		s    Selection
		want []uint64
	}{
		"all":                      {Selection{FromSeq: 1}, []uint64{1, 2, 3, 4, 5}},
		"from a sequence":          {Selection{FromSeq: 4}, []uint64{4, 5}},
		"from behind the end":      {Selection{FromSeq: 6}, nil},
		"up to a sequence":         {Selection{FromSeq: 2, ToSeq: 3}, []uint64{2, 3}},
		"up to behind the end":     {Selection{FromSeq: 4, ToSeq: 99}, []uint64{4, 5}},
		"since a time":             {Selection{Since: at(3)}, []uint64{3, 4, 5}},
		"since later":              {Selection{Since: time.Now().Add(time.Hour)}, nil},
		"until a time":             {Selection{FromSeq: 1, Until: at(2)}, []uint64{1, 2}},
		"between times":            {Selection{Since: at(2), Until: at(4)}, []uint64{2, 3, 4}},
		"a subject":                {Selection{FromSeq: 1, Subjects: []string{"a.x"}}, []uint64{1, 3, 5}},
		"a subject before the end": {Selection{FromSeq: 1, Subjects: []string{"a.y"}}, []uint64{2, 4}},
		"a subject up to another":  {Selection{FromSeq: 1, ToSeq: 4, Subjects: []string{"a.x"}}, []uint64{1, 3}},
		"a subject that has none":  {Selection{FromSeq: 1, Subjects: []string{"a.z"}}, nil},
		"headers only":             {Selection{FromSeq: 3, HeadersOnly: true}, []uint64{3, 4, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := b.read(t, test.s); !slices.Equal(got, test.want) {
				t.Errorf("read %v, want %v", got, test.want)
			}
		})
	}
}

// What comes while somebody reads is not read, or a copy of a stream into one that
// it reads itself would never end.
func TestReadDoesNotRunAfterItsOwnEnd(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 3)
	var sequences []uint64
	var start Start
	if err := Read(t.Context(), b.conn, Selection{Stream: "S", FromSeq: 1}, func(s Start) { start = s }, func(m Message) error {
		sequences = append(sequences, m.Sequence)
		b.publish(t)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sequences, []uint64{1, 2, 3}) || start != (Start{FirstSeq: 1, LastSeq: 3, Pending: 3}) {
		t.Errorf("read %v after %+v", sequences, start)
	}
}

// The last ones may be deleted by retention, or by somebody, before they are read.
func TestReadEndsThoughTheLastOnesWereDeleted(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 2*prefetchMessages)
	stream, err := b.js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	if err := Read(t.Context(), b.conn, Selection{Stream: "S", FromSeq: 1}, nil, func(m Message) error {
		if last = m.Sequence; last == 1 {
			return stream.Purge(t.Context())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if last == 0 || last > prefetchMessages {
		t.Errorf("read up to %d", last)
	}
}

func TestFollowGoesOnUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var sequences []uint64
	if err := Read(ctx, b.conn, Selection{Stream: "S", Follow: true}, func(Start) { b.publish(t) }, func(m Message) error {
		if sequences = append(sequences, m.Sequence); len(sequences) == 3 {
			cancel()
		} else {
			b.publish(t)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sequences, []uint64{3, 4, 5}) {
		t.Errorf("read %v", sequences)
	}
}

func TestReadReturnsWhatItsCallerReturns(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 2)
	enough := errors.New("enough")
	if err := Read(t.Context(), b.conn, Selection{Stream: "S", FromSeq: 1}, nil, func(Message) error { return enough }); err != enough {
		t.Errorf("%v", err)
	}
}

func TestReadSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 0)
	err := Read(t.Context(), b.conn, Selection{Stream: "OTHER", FromSeq: 1}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "no stream OTHER") || !strings.Contains(err.Error(), "RELAY_STREAM") {
		t.Errorf("%v", err)
	}
	plain := natstest.Options(t)
	plain.JetStream = false
	js := natstest.JetStream(t, natstest.Start(t, plain).ClientURL())
	err = Read(t.Context(), js.Conn(), Selection{Stream: "S", FromSeq: 1}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "nats-server -js") {
		t.Errorf("%v", err)
	}
}
