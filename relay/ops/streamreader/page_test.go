package streamreader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pages returns the sequences of a selection as pages have them, and how many pages there were.
func (b *testBroker) pages(t *testing.T, s Selection, o PageOptions) (sequences []uint64, pages int) {
	t.Helper()
	s.Stream = "S"
	for {
		page, err := ReadPage(t.Context(), b.conn, s, o)
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		pages++
		if len(page.Messages) > o.Size || o.Most > 0 && page.Examined > o.Most || page.Examined < len(page.Messages) {
			t.Errorf("%+v: a page has %d messages of %d examined", o, len(page.Messages), page.Examined)
		}
		for _, m := range page.Messages {
			sequences = append(sequences, m.Sequence)
		}
		if page.Next == 0 {
			return sequences, pages
		}
		if o.Before != 0 && page.Next >= o.Before || len(page.Messages) > 0 && page.Next > page.Messages[len(page.Messages)-1].Sequence {
			t.Fatalf("%+v: the next page begins at %d", o, page.Next)
		}
		o.Before = page.Next
	}
}

// Pages have what reading has, backwards, whatever is missing of the stream and however
// large they are.
func TestReadPage(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 60)
	stream, err := b.js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	var middle, later time.Time
	for sequence := uint64(1); sequence <= 60; sequence++ {
		m, err := stream.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		switch sequence {
		case 20:
			middle = m.Time
		case 40:
			later = m.Time
		}
	}
	deleted := []uint64{1, 2, 3, 21, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 59, 60}
	for _, sequence := range deleted {
		if err := stream.DeleteMsg(t.Context(), sequence); err != nil {
			t.Fatal(err)
		}
	}
	third := func(m Message) bool { return m.Sequence%3 == 0 }
	for name, tt := range map[string]struct {
		s      Selection
		before uint64
		match  func(Message) bool
		want   func(sequence uint64) bool
	}{
		"all":                  {want: func(uint64) bool { return true }},
		"below":                {before: 30, want: func(n uint64) bool { return n < 30 }},
		"below the first":      {before: 4, want: func(uint64) bool { return false }},
		"from":                 {s: Selection{FromSeq: 25}, want: func(n uint64) bool { return n >= 25 }},
		"to":                   {s: Selection{ToSeq: 35}, want: func(n uint64) bool { return n <= 35 }},
		"to behind the end":    {s: Selection{ToSeq: 350}, want: func(uint64) bool { return true }},
		"from and to":          {s: Selection{FromSeq: 5, ToSeq: 35}, before: 25, want: func(n uint64) bool { return n >= 5 && n < 25 }},
		"since":                {s: Selection{Since: middle}, want: func(n uint64) bool { return n >= 20 }},
		"until":                {s: Selection{Until: later}, want: func(n uint64) bool { return n <= 40 }},
		"since and until":      {s: Selection{Since: middle, Until: later}, want: func(n uint64) bool { return n >= 20 && n <= 40 }},
		"since later":          {s: Selection{Since: time.Now().Add(time.Hour)}, want: func(uint64) bool { return false }},
		"a subject":            {s: Selection{Subjects: []string{"a.x"}}, want: func(n uint64) bool { return n%2 == 1 }},
		"a subject that isn't": {s: Selection{Subjects: []string{"a.z"}}, want: func(uint64) bool { return false }},
		"matching":             {match: third, want: func(n uint64) bool { return n%3 == 0 }},
		"both":                 {s: Selection{Subjects: []string{"a.y"}, HeadersOnly: true}, match: third, want: func(n uint64) bool { return n%6 == 0 }},
		"none matches":         {match: func(Message) bool { return false }, want: func(uint64) bool { return false }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []uint64
			for n := uint64(60); n > 0; n-- {
				if !slices.Contains(deleted, n) && tt.want(n) {
					want = append(want, n)
				}
			}
			for _, size := range []int{1, 7, 100} {
				for _, most := range []int{0, 9} {
					o := PageOptions{Before: tt.before, Size: size, Most: most, Match: tt.match}
					got, pages := b.pages(t, tt.s, o)
					if !slices.Equal(got, want) {
						t.Errorf("%d of %d: %v, want %v", size, most, got, want)
					}
					if most == 0 && tt.match == nil && pages > max(1, (len(want)+size-1)/size)+1 {
						t.Errorf("%d messages make %d pages of %d", len(want), pages, size)
					}
				}
			}
		})
	}
}

// A page where the newest messages match takes one consumer, however long the stream is, and a
// gap of many thousand sequences takes a few more.
func TestReadPageIsCheap(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 0)
	const n = 30_000
	if _, err := b.js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}, MaxMsgsPerSubject: 100}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.Publish(t.Context(), "a.first", nil); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := b.js.PublishAsync("a.x", []byte(strconv.Itoa(i)), jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			<-b.js.PublishAsyncComplete()
		}
	}
	<-b.js.PublishAsyncComplete()
	made := make(chan *nats.Msg, 1000)
	if _, err := b.conn.ChanSubscribe("$JS.API.CONSUMER.CREATE.>", made); err != nil {
		t.Fatal(err)
	}
	if err := b.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		size, most, want, consumers int
		next                        uint64
	}{
		{size: 50, want: 50, consumers: 1, next: n - 48},
		{size: 100, want: 100, consumers: 1, next: n - 99},
		{size: 101, want: 101, consumers: 6}, // the oldest is far away
		{size: 200, want: 101, consumers: 5},
	} {
		page, err := ReadPage(t.Context(), b.conn, Selection{Stream: "S"}, PageOptions{Size: tt.size})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.conn.Flush(); err != nil {
			t.Fatal(err)
		}
		if len(page.Messages) != tt.want || page.Next != tt.next || len(made) > tt.consumers {
			t.Errorf("a page of %d has %d messages, goes on below %d, and took %d consumers", tt.size, len(page.Messages), page.Next, len(made))
		}
		for len(made) > 0 {
			<-made
		}
	}
	if left := b.consumers(t); len(left) > 0 {
		t.Errorf("it leaves %q", left)
	}
}

// What is searched for without success does not take longer than it may, and says where
// to go on, however dense the stream becomes further down.
func TestReadPageIsBounded(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 200)
	if _, err := b.js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}}); err != nil {
		t.Fatal(err)
	}
	first := func(m Message) bool { return m.Sequence == 1 }
	page, err := ReadPage(t.Context(), b.conn, Selection{Stream: "S"}, PageOptions{Size: 2, Most: 80, Match: first})
	if err != nil || len(page.Messages) != 0 || page.Examined > 80 || page.Examined < 40 || page.Next != uint64(201-page.Examined) {
		t.Errorf("%+v, %v", page, err)
	}
	page, err = ReadPage(t.Context(), b.conn, Selection{Stream: "S"}, PageOptions{Size: 2, Match: first})
	if err != nil || len(page.Messages) != 1 || page.Examined != 200 || page.Next != 0 {
		t.Errorf("%+v, %v", page, err)
	}
}

// Of an empty stream there is an empty page, also where it once had messages; a stream
// that is missing is an error, and so is the end of the context.
func TestReadPageOfNothing(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 0)
	for _, purged := range []bool{false, true} {
		if purged {
			b.publish(t)
			stream, err := b.js.Stream(t.Context(), "S")
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		page, err := ReadPage(t.Context(), b.conn, Selection{Stream: "S"}, PageOptions{Size: 5})
		if err != nil || len(page.Messages) != 0 || page.Next != 0 {
			t.Errorf("%+v, %v", page, err)
		}
	}
	if _, err := ReadPage(t.Context(), b.conn, Selection{Stream: "OTHER"}, PageOptions{Size: 5}); err == nil {
		t.Error("no error about a stream that is missing")
	}
	b.publish(t)
	b.publish(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("nobody waits any more")
	_, err := ReadPage(ctx, b.conn, Selection{Stream: "S"}, PageOptions{Size: 5, Match: func(Message) bool { cancel(gone); return true }})
	if !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

// Bodies come with the events in them.
func TestReadPageDecodes(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 3)
	page, err := ReadPage(t.Context(), b.conn, Selection{Stream: "S"}, PageOptions{Size: 2})
	if err != nil || len(page.Messages) != 2 {
		t.Fatalf("%+v, %v", page, err)
	}
	for i, m := range page.Messages {
		if string(m.Data) != fmt.Sprint(3-i) || m.Err == nil {
			t.Errorf("%+v", m)
		}
	}
}
