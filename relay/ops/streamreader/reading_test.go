package streamreader_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
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
				if _, err := js.PublishAsync("s", fmt.Append(nil, i+1), jetstream.WithStallWait(time.Minute)); err != nil {
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
			err = streamreader.Read(t.Context(), js.Conn(), streamreader.Selection{Stream: "S", FromSeq: 1}, func(s streamreader.Start) {
				if s.FirstSeq != 1 || s.LastSeq != n || s.Pending != n {
					t.Errorf("it starts with %+v", s)
				}
			}, func(m streamreader.Message) error {
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

// losing is a way to the broker on which the message of one sequence is lost, once.
type losing struct {
	reply []byte // as the subject of its acknowledgement ends
	lost  atomic.Bool
}

func (l *losing) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return &losingConn{Conn: conn, by: l, from: bufio.NewReader(conn)}, err
}

type losingConn struct {
	net.Conn
	by   *losing
	from *bufio.Reader
	left []byte
}

// Read implements net.Conn: it reads the server's protocol line by line.
func (c *losingConn) Read(p []byte) (int, error) {
	for len(c.left) == 0 {
		line, err := c.from.ReadBytes('\n')
		if err != nil {
			return 0, err
		}
		fields := bytes.Fields(line)
		if len(fields) < 4 || !bytes.Equal(fields[0], []byte("MSG")) && !bytes.Equal(fields[0], []byte("HMSG")) {
			c.left = line
			continue
		}
		size, err := strconv.Atoi(string(fields[len(fields)-1]))
		if err != nil {
			return 0, err
		}
		payload := make([]byte, size+2)
		if _, err := io.ReadFull(c.from, payload); err != nil {
			return 0, err
		}
		if bytes.Contains(line, c.by.reply) && c.by.lost.CompareAndSwap(false, true) {
			continue
		}
		c.left = append(line, payload...)
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

// A message that gets lost on its way to the client is read all the same, the last
// one too, after which nothing comes that would tell.
func TestLostMessagesAreRead(t *testing.T) {
	t.Parallel()
	for _, follow := range []bool{false, true} {
		for _, sequence := range []uint64{5, 10} {
			t.Run(fmt.Sprint(sequence, " of 10, following: ", follow), func(t *testing.T) {
				t.Parallel()
				server := natstest.Start(t, natstest.Options(t))
				way := &losing{reply: []byte("nothing yet")}
				js := natstest.JetStream(t, server.ClientURL(), nats.SetCustomDialer(way))
				if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
					t.Fatal(err)
				}
				for range 10 {
					if _, err := js.Publish(t.Context(), "s", nil); err != nil {
						t.Fatal(err)
					}
				}
				// As the reply to no. N has it: …deliveries.stream sequence.consumer sequence.…
				way.reply = fmt.Appendf(nil, ".1.%d.%d.", sequence, sequence)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				read := uint64(0)
				done := errors.New("all were read")
				err := streamreader.Read(ctx, js.Conn(), streamreader.Selection{Stream: "S", FromSeq: 1, Follow: follow}, nil, func(m streamreader.Message) error {
					if read++; m.Sequence != read {
						t.Errorf("no. %d has the sequence %d", read, m.Sequence)
					}
					if follow && read == 10 {
						return done
					}
					return nil
				})
				if read != 10 || !way.lost.Load() || follow && err != done || !follow && err != nil {
					t.Errorf("%d of 10 were read (one was lost: %v): %v", read, way.lost.Load(), err)
				}
			})
		}
	}
}

// What comes from now on is read from the first one on, although the broker went away, or the
// message got lost, before there was any.
func TestFollowingBeginsWithTheFirst(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"broker restarts", "message is lost"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := natstest.Options(t)
			server := natstest.Start(t, options)
			options.Port = server.Addr().(*net.TCPAddr).Port
			way := &losing{reply: []byte("nothing")}
			if name == "message is lost" {
				way.reply = []byte(".1.3.1.") // of the first delivery, of sequence 3
			}
			js := natstest.JetStream(t, server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.SetCustomDialer(way))
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
				t.Fatal(err)
			}
			publish := func(to jetstream.JetStream) {
				t.Helper()
				if _, err := to.Publish(t.Context(), "s", nil); err != nil {
					t.Error(err)
				}
			}
			publish(js)
			publish(js)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			read, done := uint64(2), errors.New("all were read")
			err := streamreader.Read(ctx, js.Conn(), streamreader.Selection{Stream: "S", Follow: true}, func(streamreader.Start) {
				if name == "message is lost" {
					publish(js)
					return
				}
				natstest.Stop(server)
				server = natstest.Start(t, options)
				publish(natstest.JetStream(t, server.ClientURL()))
			}, func(m streamreader.Message) error {
				if read++; m.Sequence != read {
					t.Errorf("sequence %d is read, want %d", m.Sequence, read)
				}
				return done
			})
			if err != done || way.lost.Load() != (name == "message is lost") {
				t.Errorf("nothing was read (lost: %v): %v", way.lost.Load(), err)
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
		selection streamreader.Selection
		want      streamreader.Start
	}{
		"sequence":          {streamreader.Selection{FromSeq: 2}, streamreader.Start{FirstSeq: 2, LastSeq: 6, Pending: 5}},
		"sequence behind":   {streamreader.Selection{FromSeq: 9}, streamreader.Start{FirstSeq: 9, LastSeq: 6}},
		"time":              {streamreader.Selection{Since: middle}, streamreader.Start{FirstSeq: 4, LastSeq: 6, Pending: 3}},
		"time long ago":     {streamreader.Selection{Since: middle.Add(-time.Hour)}, streamreader.Start{FirstSeq: 1, LastSeq: 6, Pending: 6}},
		"time to come":      {streamreader.Selection{Since: middle.Add(time.Hour)}, streamreader.Start{FirstSeq: 7, LastSeq: 6}},
		"subject":           {streamreader.Selection{FromSeq: 1, Subjects: []string{"s.4"}}, streamreader.Start{FirstSeq: 1, LastSeq: 6, Pending: 1}},
		"subject not there": {streamreader.Selection{FromSeq: 3, Subjects: []string{"s.x"}}, streamreader.Start{FirstSeq: 3, LastSeq: 6}},
	} {
		tt.selection.Stream = "S"
		var got streamreader.Start
		read := uint64(0)
		err := streamreader.Read(t.Context(), js.Conn(), tt.selection, func(s streamreader.Start) { got = s }, func(streamreader.Message) error { read++; return nil })
		if err != nil || got != tt.want || read != tt.want.Pending {
			t.Errorf("%s: %d read, start %+v, want %+v (%v)", name, read, got, tt.want, err)
		}
	}
}
