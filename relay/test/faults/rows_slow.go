package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// slowKinds are what slow connections begin with; then they send a byte now and
// then. One in ten has a token and is at its body: more would take all that may
// be in flight, as those with a token can.
var slowKinds = []string{
	"", "", // never a byte
	"P", "POST " + "/webhook/apixo/" + firstToken + " HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", "POST /webhook/apixo HTTP/1.1\r\nHost: localhost\r\n",
	"POST /webhook/apixo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n{", "POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n",
	"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX", "\x16\x03\x01",
	"POST /webhook/apixo/" + firstToken + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n{",
}

func slowConnections(t *trial) {
	n := t.times(500, 5000)
	if err := rig.OwnDescriptors(2*n + 1000); err != nil {
		t.notRun("%s: a higher limit of open files is needed", err)
	}
	// So many in flight, that all of the connections are let in.
	r := t.embedded("RELAY_WEBHOOK_TOKENS="+firstToken, "RELAY_MAX_IN_FLIGHT=4096")
	ctx, cancel := context.WithCancel(t.ctx)
	var slow sync.WaitGroup
	defer slow.Wait()
	defer cancel()
	var opened, cut atomic.Int64
	for i := range n {
		random := rand.New(rand.NewPCG(t.rand.Uint64(), uint64(i)))
		slow.Go(func() { dawdle(ctx, r.Addr(), slowKinds[i%len(slowKinds)], random, &opened, &cut) })
	}
	most := 0
	for most < n && opened.Load() < int64(3*n) {
		open, err := r.Descriptors()
		t.must(err)
		most = max(most, open)
		t.sleep(20 * time.Millisecond)
	}
	if most < n*9/10 {
		t.fail("the relay had %d connections at the most, and %d were to be brought about", most, n)
	}
	kept := r.Vary(inPath(firstToken)).StartLoad(t.ctx, "kept", rig.Pace{Workers: 8})
	each := t.NewSenderOver(r.URL(), &http.Transport{DisableKeepAlives: true}).Vary(asBasic(firstToken)).StartLoad(t.ctx, "each", rig.Pace{Workers: 4, Pause: time.Millisecond})
	t.sleep(t.duration(8*time.Second, time.Minute))
	for _, load := range []*rig.Load{kept, each} {
		t.goesOn(load, 10)
		o := load.Stop()
		t.count(o)
		t.only(o)
		t.within(o, 20*time.Second)
	}
	cancel()
	slow.Wait()
	if cut.Load() == 0 {
		t.fail("no slow connection was ever cut off")
	}
	peak, err := r.PeakMemory()
	t.must(err)
	t.note("%d descriptors were open at once; %d slow connections were opened, of which the relay ended %d; the peak of memory was %d MiB", most, opened.Load(), cut.Load(), peak>>20)
	t.audit(r.Broker)
	t.quarantineHolds(r.Broker, nil)
}

// dawdle has a slow connection all the time: when the relay has ended one, the
// next is made.
func dawdle(ctx context.Context, addr, begin string, random *rand.Rand, opened, cut *atomic.Int64) {
	for ctx.Err() == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			continue // the end, or the relay has more than it takes
		}
		opened.Add(1)
		if nudge(ctx, conn, begin, random) {
			cut.Add(1)
		}
		_ = conn.Close()
	}
}

// nudge sends a byte now and then, and reports whether the relay ended that.
func nudge(ctx context.Context, conn net.Conn, begin string, random *rand.Rand) bool {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	for text := begin; ; text = "x" {
		if begin != "" {
			if _, err := fmt.Fprint(conn, text); err != nil {
				return ctx.Err() == nil
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(200*time.Millisecond + time.Duration(random.Int64N(int64(600*time.Millisecond)))):
		}
	}
}
