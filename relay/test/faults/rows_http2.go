package faults

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// http2Rows are senders without a token who make the most of HTTP/2.
var http2Rows = []Row{
	{
		Name: "http2-no-window", Fault: "requests in HTTP/2 whose answers nobody takes",
		Injected: "300 connections over TLS that leave no window for answers, each with as many requests as are let in, all with a wrong token: a third with 14 kB of headers, a third with hundreds of small ones, and a third with more than are taken, which the library answers by itself; made anew when the relay ends them, beside good webhooks on connections of their own",
		run:      func(t *trial) { t.http2Flood(300, withoutWindow) },
	},
	{
		Name: "http2-many-streams", Fault: "requests in HTTP/2 that are begun and left",
		Injected: "the same number of connections that read, each with one of these, ten times a second and without end: requests that are reset at once, bodies that stop half way, frames of a megabyte, and headers that go on and on",
		run:      func(t *trial) { t.http2Flood(300, manyStreams) },
	},
	{
		Name: "http2-idle", Fault: "idle connections in HTTP/2, more than there are descriptors",
		Injected: "a relay with 600 descriptors, and 400 connections over TLS that greet in HTTP/2 and send nothing more",
		run:      http2Idle,
	},
}

// strangerBudget is how long a good webhook may take while others flood the relay.
const strangerBudget = 2 * time.Second

// Types and flags of frames (RFC 9113, section 6).
const (
	frameData, frameHeaders, frameReset, frameSettings, frameContinuation = 0, 1, 3, 4, 9
	endStream, endHeaders                                                 = 1, 4
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	f = binary.BigEndian.AppendUint32(append(f, flags), stream)
	return append(f, payload...)
}

// wrongPost are the header fields of a webhook with a wrong token, and more, as they
// are (RFC 7541, section 6.2.2).
func wrongPost(more ...string) (block []byte) {
	for i, text := range append([]string{":method", "POST", ":scheme", "https", ":authority", "h", ":path", "/webhook/apixo/" + strings.Repeat("x", 32)}, more...) {
		if i%2 == 0 {
			block = append(block, 0)
		}
		// A length of 127 and more goes on in groups of seven bits.
		if n := len(text); n < 127 {
			block = append(block, byte(n))
		} else {
			block = binary.AppendUvarint(append(block, 127), uint64(n-127))
		}
		block = append(block, text...)
	}
	return block
}

// small are so many header fields of two letters.
func small(n int) (fields []string) {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	for i := range n {
		fields = append(fields, letters[i/26%26:][:1]+letters[i%26:][:1], "")
	}
	return fields
}

// post are the frames of a request.
func post(stream uint32, block []byte) []byte {
	const most = 16 << 10 // of a frame
	if len(block) <= most {
		return frame(frameHeaders, endHeaders|endStream, stream, block)
	}
	return append(frame(frameHeaders, endStream, stream, block[:most]), frame(frameContinuation, endHeaders, stream, block[most:])...)
}

// flooder writes to a connection, the i-th, until that is ended. It has been greeted.
type flooder struct {
	greeting []byte
	write    func(conn io.Writer, i int) error
}

var greeting = append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 1, 0, nil)...) // which acknowledges the other's

const streamsAtOnce = 16 // that the relay lets in

var withoutWindow = flooder{
	greeting: append(greeting[:len(greeting)-9:len(greeting)-9], append(frame(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0}), frame(frameSettings, 1, 0, nil)...)...),
	write: func(conn io.Writer, i int) error {
		blocks := [][]byte{wrongPost("x", strings.Repeat("v", 14_000)), wrongPost(small(470)...), wrongPost(small(510)...)}
		for stream := uint32(1); stream < 2*streamsAtOnce; stream += 2 {
			if _, err := conn.Write(post(stream, blocks[i%len(blocks)])); err != nil {
				return err
			}
		}
		return nil
	},
}

var manyStreams = flooder{
	greeting: greeting,
	write: func(conn io.Writer, i int) error {
		block := wrongPost("x", strings.Repeat("v", 1000))
		for stream := uint32(1); ; stream += 2 {
			begun := frame(frameHeaders, endHeaders, stream, block)
			var text []byte
			switch i % 4 {
			case 0:
				text = append(begun, frame(frameReset, 0, stream, []byte{0, 0, 0, 8})...)
			case 1:
				text = append(begun, frame(frameData, 0, stream, make([]byte, 10_000))...)
			case 2:
				text = append(begun, frame(frameData, 0, stream, make([]byte, 1<<20))...)
			case 3:
				text = frame(frameHeaders, 0, stream, wrongPost(small(400)...))
				if stream > 1 {
					text = frame(frameContinuation, 0, 1, wrongPost(small(10)...)[64:])
				}
			}
			if _, err := conn.Write(text); err != nil {
				return err
			}
			<-time.After(manyPause)
		}
	},
}

// manyPause is between two requests of a connection: what is tried is what they hold,
// and not how fast the processor is.
const manyPause = 100 * time.Millisecond

// flood has n connections all the time, and counts those that were made.
func (f flooder) flood(ctx context.Context, addr string, n int) (made *atomic.Int64, wait func()) {
	made = new(atomic.Int64)
	var floods sync.WaitGroup
	for i := range n {
		floods.Go(func() {
			for ctx.Err() == nil {
				if conn, err := f.greet(ctx, addr); err == nil {
					made.Add(1)
					f.hold(ctx, conn, i)
				}
				select { // who has been cut off needs a moment
				case <-ctx.Done():
				case <-time.After(refloodPause):
				}
			}
		})
	}
	return made, floods.Wait
}

// refloodPause keeps the flood from costing the machine more than the relay.
const refloodPause = time.Second

// greet connects.
func (f flooder) greet(ctx context.Context, addr string) (net.Conn, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(bytes.Clone(f.greeting)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// hold writes, reads what comes, and returns when the connection has ended.
func (f flooder) hold(ctx context.Context, conn net.Conn, i int) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = f.write(conn, i) // an error says that it has ended
	}()
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
	<-written
}

// secure starts a relay that takes webhooks by HTTPS and asks for a token.
func (t *trial) secure() *rig.Relay {
	certFile, keyFile, err := t.NewCertificate()
	t.must(err)
	return t.embedded("RELAY_WEBHOOK_TOKENS="+firstToken, "RELAY_TLS_CERT_FILE="+certFile, "RELAY_TLS_KEY_FILE="+keyFile)
}

// each sends good webhooks in HTTP/2, each on a connection of its own.
func (t *trial) each(r *rig.Relay, prefix string) *rig.Load {
	transport := &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	return t.NewSenderOver(r.URL(), transport).Vary(inPath(firstToken)).StartLoad(t.ctx, prefix, rig.Pace{Workers: 2, Pause: 20 * time.Millisecond})
}

// http2Flood has strangers flood a relay, and good webhooks come meanwhile.
func (t *trial) http2Flood(n int, f flooder) {
	if err := rig.OwnDescriptors(2*n + 1000); err != nil {
		t.notRun("%s: a higher limit of open files is needed", err)
	}
	r := t.secure()
	ctx, cancel := context.WithCancel(t.ctx)
	made, wait := f.flood(ctx, r.Addr(), n)
	defer wait()
	defer cancel()
	most := 0
	for most < n*9/10 && made.Load() < int64(3*n) {
		open, err := r.Descriptors()
		t.must(err)
		most = max(most, open)
		t.sleep(20 * time.Millisecond)
	}
	load := t.each(r, "good")
	t.sleep(t.duration(5*time.Second, time.Minute))
	t.goesOn(load, 10)
	t.floodEnds(r, load)
	cancel()
	wait()
	t.note("%d connections were made", made.Load())
	t.audit(r.Broker)
	t.quarantineHolds(r.Broker, nil)
}

// floodEnds holds the good webhooks and the memory of a flooded relay against what is
// promised.
func (t *trial) floodEnds(r *rig.Relay, load *rig.Load) {
	o := load.Stop()
	t.count(o)
	t.only(o)
	t.within(o, t.inTime(strangerBudget))
	peak, err := r.PeakMemory()
	t.must(err)
	if t.note("the peak of memory was %d MiB", peak>>20); peak > memoryBound {
		t.fail("the relay's memory came to %d MiB, over the README's bound of %d MiB", peak>>20, memoryBound>>20)
	}
	t.must(r.Healthy(t.ctx))
}

func http2Idle(t *trial) {
	const descriptors, idle = 600, 400
	t.must(rig.OwnDescriptors(2 * descriptors))
	r := t.secure()
	t.must(r.LimitDescriptors(descriptors))
	n := t.times(1, 4)
	for i := range n {
		t.round(i, n)
		var conns crowd
		for range idle {
			conn, err := flooder{greeting: greeting}.greet(t.ctx, r.Addr())
			t.must(err)
			conns = append(conns, conn)
		}
		load := t.each(r, fmt.Sprintf("good_%d", i))
		t.sleep(t.duration(3*time.Second, 10*time.Second))
		t.goesOn(load, 10)
		t.floodEnds(r, load)
		conns.leave()
	}
	t.audit(r.Broker)
}
