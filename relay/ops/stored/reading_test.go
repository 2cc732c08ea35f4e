package stored_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/internal/natstest"
	"github.com/apixo-relay/apixo-relay/relay/ops/stored"
)

// Where the broker goes away for a while, or has dropped the consumer of a reader
// that took its time, reading goes on.
func TestReadingGoesOn(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"broker restarts", "consumer is dropped"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := natstest.Options(t)
			server := natstest.Start(t, options)
			js := natstest.JetStream(t, server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))
			stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
			if err != nil {
				t.Fatal(err)
			}
			const n = 3000
			for i := range n {
				if _, err := js.PublishAsync("s", fmt.Append(nil, i+1)); err != nil {
					t.Fatal(err)
				}
			}
			<-js.PublishAsyncComplete()
			disturb := func() {
				if name == "consumer is dropped" {
					dropConsumer(t, stream)
					return
				}
				options.Port = server.Addr().(*net.TCPAddr).Port
				natstest.Stop(server)
				natstest.Start(t, options)
			}
			read := uint64(0)
			err = stored.Read(t.Context(), js.Conn(), stored.Selection{Stream: "S", FromSeq: 1}, func(s stored.Start) {
				if s.FirstSeq != 1 || s.LastSeq != n || s.Pending != n {
					t.Errorf("it starts with %+v", s)
				}
			}, func(m stored.Message) error {
				if read++; m.Sequence != read || string(m.Data) != fmt.Sprint(read) {
					t.Fatalf("no. %d is %s, of sequence %d", read, m.Data, m.Sequence)
				}
				if read == 100 {
					disturb()
				}
				return nil
			})
			if err != nil || read != n {
				t.Errorf("%d of %d were read: %v", read, n, err)
			}
		})
	}
}

func dropConsumer(t *testing.T, stream jetstream.Stream) {
	t.Helper()
	dropped := 0
	for name := range stream.ConsumerNames(t.Context()).Name() {
		if err := stream.DeleteConsumer(t.Context(), name); err != nil {
			t.Error(err)
		}
		dropped++
	}
	if dropped != 1 {
		t.Errorf("there were %d consumers", dropped)
	}
}

// The place where reading begins is told, whichever way it was given and whether or
// not something is there.
func TestStart(t *testing.T) {
	t.Parallel()
	js := natstest.JetStream(t, natstest.Start(t, natstest.Options(t)).ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	var middle time.Time
	for i := range 6 {
		if i == 3 {
			middle = time.Now()
		}
		if _, err := js.Publish(t.Context(), fmt.Sprint("s.", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		selection stored.Selection
		want      stored.Start
	}{
		"sequence":          {stored.Selection{FromSeq: 2}, stored.Start{FirstSeq: 2, LastSeq: 6, Pending: 5}},
		"sequence behind":   {stored.Selection{FromSeq: 9}, stored.Start{FirstSeq: 9, LastSeq: 6}},
		"time":              {stored.Selection{Since: middle}, stored.Start{FirstSeq: 4, LastSeq: 6, Pending: 3}},
		"time long ago":     {stored.Selection{Since: middle.Add(-time.Hour)}, stored.Start{FirstSeq: 1, LastSeq: 6, Pending: 6}},
		"time to come":      {stored.Selection{Since: middle.Add(time.Hour)}, stored.Start{FirstSeq: 7, LastSeq: 6}},
		"subject":           {stored.Selection{FromSeq: 1, Subjects: []string{"s.4"}}, stored.Start{FirstSeq: 1, LastSeq: 6, Pending: 1}},
		"subject not there": {stored.Selection{FromSeq: 3, Subjects: []string{"s.x"}}, stored.Start{FirstSeq: 3, LastSeq: 6}},
	} {
		tt.selection.Stream = "S"
		var got stored.Start
		read := uint64(0)
		err := stored.Read(t.Context(), js.Conn(), tt.selection, func(s stored.Start) { got = s }, func(stored.Message) error { read++; return nil })
		if err != nil || got != tt.want || read != tt.want.Pending {
			t.Errorf("%s: %d read, start %+v, want %+v (%v)", name, read, got, tt.want, err)
		}
	}
}
