package faults

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

const (
	// Events that are there to be pulled: as large as events are that are bounded by
	// their size, and many that are not.
	pulledLarge, pulledLargeSize = 550, 200_000
	pulledSmall, pulledSmallSize = 20_500, 2_000
	// pullBudget is how long a webhook may take meanwhile, where nobody else works.
	pullBudget = 2 * time.Second
)

func pullsUnread(t *trial) {
	r := t.embedded(fmt.Sprintf("RELAY_MAX_IN_FLIGHT=%d", stalledInFlight))
	t.must(r.Healthy(t.ctx))
	js := t.js(r.Broker)
	t.must(fill(t.ctx, js, pulledLarge, pulledLargeSize))
	t.must(fill(t.ctx, js, t.times(pulledSmall/2, pulledSmall), pulledSmallSize))
	consumed := t.consume(js)

	ctx, cancel := context.WithCancel(t.ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	share := t.watchShare(r)
	load := r.StartLoad(t.ctx, "task", rig.Pace{Workers: 4, Padding: stalledBody})
	t.must(load.AwaitAccepted(t.ctx, 1))
	var pulls atomic.Int64
	for i := range brokerClients - goodClients {
		p := puller{addr: strings.TrimPrefix(r.Broker, "nats://"), name: fmt.Sprint("UNREAD_", i), from: 1, batch: pulledLarge, ack: "none"}
		if i%2 == 1 {
			p.from, p.batch = pulledLarge+1, pulledSmall
		}
		if i%4 >= 2 {
			p.ack = "explicit"
		}
		clients.Go(func() { p.run(ctx, &pulls) })
	}
	t.must(load.AwaitAccepted(t.ctx, t.times(60, 800)))
	o := load.Stop()
	budget := share.stretch(t, t.inTime(pullBudget))
	cancel()
	clients.Wait()
	t.count(o)
	t.only(o)
	t.within(o, budget)
	t.must(r.Healthy(t.ctx))
	if missing := consumed(o.Accepted); missing > 0 {
		t.fail("the good consumer has not got %d of %d events", missing, len(o.Accepted))
	}
	peak, err := r.PeakMemory()
	t.must(err)
	times := strings.Count(r.Log(), "clients of the embedded broker were disconnected")
	t.note("at its peak the relay had %d MiB of memory; the README's bound is %d MiB. %d pulls were left unread, and the log says so %d times", peak>>20, stalledBound>>20, pulls.Load(), times)
	if peak > stalledBound {
		t.fail("the relay's memory came to %d MiB, over the README's bound of %d MiB", peak>>20, stalledBound>>20)
	}
	if times == 0 {
		t.fail("the log does not say that clients were disconnected, after %d pulls", pulls.Load())
	}
	t.audit(r.Broker)
}

// fill stores so many messages of a size where events are.
func fill(ctx context.Context, js jetstream.JetStream, n, size int) error {
	filler := strings.Repeat("a", size)
	for i := range n {
		event := fmt.Appendf(nil, `{"id":"pulled_%d_%d","data":"%s"}`, size, i, filler)
		if _, err := js.PublishAsync("apixo.task.success", event, jetstream.WithStallWait(time.Minute)); err != nil {
			return fmt.Errorf("events cannot be stored: %w", err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// puller is a client that pulls many events at once, and reads none.
type puller struct {
	addr, name  string
	from, batch int
	ack         string // the policy
}

// run pulls again whenever it is cut off, until ctx ends.
func (p puller) run(ctx context.Context, pulls *atomic.Int64) {
	for ctx.Err() == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		if err = p.pull(conn); err == nil {
			pulls.Add(1)
		}
		for err == nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			_, err = io.WriteString(conn, "PONG\r\n") // fails once the other end is gone
		}
		stop()
		_ = conn.Close()
	}
}

// pull makes the consumer anew, and pulls from it.
func (p puller) pull(conn net.Conn) error {
	said := bufio.NewReaderSize(conn, 16) // with little of what comes later in it
	request := func(verb, body string) error {
		if _, err := fmt.Fprintf(conn, "PUB $JS.API.CONSUMER.%s.%s.%s %s %d\r\n%s\r\n", verb, stream, p.name, p.name, len(body), body); err != nil {
			return err
		}
		for {
			line, err := said.ReadString('\n')
			if err != nil {
				return err
			}
			if fields := strings.Fields(line); len(fields) == 4 && fields[0] == "MSG" {
				n, err := strconv.Atoi(fields[3])
				if err == nil {
					_, err = said.Discard(n)
				}
				return err
			}
		}
	}
	if _, err := fmt.Fprintf(conn, "%sSUB %s 1\r\n", connectText, p.name); err != nil {
		return err
	}
	if err := request("DELETE", ""); err != nil {
		return err
	}
	config := fmt.Sprintf(`{"stream_name":%q,"config":{"name":%q,"deliver_policy":"by_start_sequence","opt_start_seq":%d,"ack_policy":%q,"max_ack_pending":%d,"inactive_threshold":60000000000}}`,
		stream, p.name, p.from, p.ack, map[string]int{"none": 0, "explicit": -1}[p.ack])
	if err := request("CREATE", config); err != nil {
		return err
	}
	body := fmt.Sprintf(`{"batch":%d,"expires":60000000000}`, p.batch)
	_, err := fmt.Fprintf(conn, "PUB $JS.API.CONSUMER.MSG.NEXT.%s.%s %s %d\r\n%s\r\n", stream, p.name, p.name, len(body), body)
	return err
}
