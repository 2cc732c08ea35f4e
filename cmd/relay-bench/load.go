package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// payload is APIXO's own example of a webhook, with room for a task id.
const payload = `{"code":200,"message":"success","data":{"taskId":"%s","state":"success","resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/output/abc.jpg\"]}","costTime":12500,"createTime":1704067200000,"completeTime":1704067212500}}`

const (
	// answerTimeout is how long APIXO waits for an answer.
	answerTimeout = 30 * time.Second

	// redialPause keeps connections to a receiver that is gone from taking all
	// of the machine.
	redialPause = 10 * time.Millisecond

	// idDigits count the webhooks of a run in their task ids.
	idDigits = 10
)

// Task ids have a beginning that is new in each run, since a receiver may
// remember those of the last, and go on with a number.
var (
	idPrefix = "task_" + strings.ToLower(rand.Text()[:6])
	lastID   atomic.Uint64
)

// target is a receiver as the load generator sees it.
type target struct {
	address string      // host and port
	tls     *tls.Config // nil for plain HTTP
	request []byte      // as it is written, with the first id
	idAt    int         // where the number in it is
	want    []byte      // what the body of an answer has to contain besides its 200
}

func newTarget(u *url.URL, want string) (*target, error) {
	id := idPrefix + strings.Repeat("0", idDigits)
	body := fmt.Sprintf(payload, id)
	request := http.Request{
		Method: http.MethodPost, URL: u, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		Header: http.Header{"Content-Type": {"application/json"}, "User-Agent": {"relay-bench"}},
	}
	if u.User != nil {
		password, _ := u.User.Password()
		request.SetBasicAuth(u.User.Username(), password)
	}
	var b bytes.Buffer
	if err := request.Write(&b); err != nil {
		return nil, err
	}
	t := &target{address: u.Host, request: b.Bytes(), want: []byte(want)}
	t.idAt = bytes.LastIndex(t.request, []byte(id)) + len(idPrefix)
	port := "80"
	if u.Scheme == "https" {
		port = "443"
		t.tls = &tls.Config{ServerName: u.Hostname()}
	}
	if u.Port() == "" {
		t.address = net.JoinHostPort(u.Hostname(), port)
	}
	return t, nil
}

// loadResult is what came of a load.
type loadResult struct {
	latencies []uint32 // of the webhooks that were stored, in microseconds
	failures  map[string]int
	took      time.Duration
}

// crew is a number of connections to a target.
type crew []*client

// dial opens the connections, so that a load on them can start at once.
func (t *target) dial(ctx context.Context, connections int) (crew, error) {
	c := make(crew, connections)
	errs := make([]error, connections)
	var dialing sync.WaitGroup
	for i := range c {
		c[i] = &client{target: t, request: bytes.Clone(t.request)}
		dialing.Go(func() { errs[i] = c[i].dial(ctx) })
	}
	dialing.Wait()
	for _, err := range errs {
		if err != nil { // the others say the same
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c crew) close() {
	for _, client := range c {
		client.close()
	}
}

// run sends on all connections for a time, and waits for the last answers: each
// sends when it has the last answer (a closed loop), or, with a rate, all together
// so many webhooks a second at even distances (an open loop).
func (c crew) run(ctx context.Context, duration time.Duration, rate int) loadResult {
	r := loadResult{failures: make(map[string]int)}
	begin := time.Now()
	var sending sync.WaitGroup
	for i, client := range c {
		var turns pace
		if rate > 0 {
			each := time.Second / time.Duration(rate)
			turns = pace{next: begin.Add(each * time.Duration(i)), every: each * time.Duration(len(c))}
		}
		sending.Go(func() { client.run(ctx, begin.Add(duration), turns) })
	}
	sending.Wait()
	r.took = time.Since(begin)
	for _, client := range c {
		r.latencies = append(r.latencies, client.latencies...)
		for why, n := range client.failures {
			r.failures[why] += n
		}
	}
	return r
}

// pace says when a connection sends; at once where it is empty.
type pace struct {
	next  time.Time
	every time.Duration
}

// await waits for the connection's turn, and returns from when on its answer is
// waited for. Whoever still waited for the last answer at that time is late, and
// the receiver's queue is the reason; that the timer was late is not its fault.
func (p *pace) await(ctx context.Context) time.Time {
	turn := p.next
	p.next = turn.Add(p.every)
	wait := time.Until(turn)
	if p.every == 0 {
		return time.Now()
	}
	if wait <= 0 {
		return turn
	}
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
	return time.Now()
}

// client is one connection, on which a webhook is sent when the answer to the last
// one is there.
type client struct {
	target    *target
	request   []byte
	conn      net.Conn    // nil after a failure
	unhook    func() bool // from the end of the run
	r         *bufio.Reader
	body      bytes.Buffer
	latencies []uint32
	failures  map[string]int
	quota     *atomic.Int64 // how many webhooks all connections may send yet; nil for any number
}

func (c *client) dial(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: answerTimeout}).DialContext(ctx, "tcp", c.target.address)
	if err != nil {
		return err
	}
	if c.target.tls != nil {
		secure := tls.Client(conn, c.target.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return err
		}
		conn = secure
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
	// Whoever waits for an answer when the run is stopped waits no longer.
	c.unhook = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.unhook()
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *client) run(ctx context.Context, until time.Time, turns pace) {
	c.latencies, c.failures = c.latencies[:0], make(map[string]int)
	giveUp := until.Add(answerTimeout)
	if c.conn != nil {
		_ = c.conn.SetDeadline(giveUp)
	}
	for time.Now().Before(until) && turns.next.Before(until) && ctx.Err() == nil && c.take() {
		begin := turns.await(ctx)
		if c.conn == nil {
			if err := c.dial(ctx); err != nil {
				c.failures[innermost(err)]++
				select {
				case <-ctx.Done():
				case <-time.After(redialPause):
				}
				continue
			}
			_ = c.conn.SetDeadline(giveUp)
		}
		why, keep := c.post(lastID.Add(1))
		if why == "" {
			c.latencies = append(c.latencies, uint32(time.Since(begin).Microseconds()))
		} else {
			c.failures[why]++
		}
		if !keep {
			c.close()
		}
	}
}

// take is whether there is a webhook left to send, which then has to be sent.
func (c *client) take() bool { return c.quota == nil || c.quota.Add(-1) >= 0 }

// post sends the webhook with the id of this number and reads the answer. It
// tells why the webhook failed, if it did, and whether the connection can be used
// again.
func (c *client) post(n uint64) (why string, keep bool) {
	for i := c.target.idAt + idDigits - 1; i >= c.target.idAt; i-- {
		c.request[i] = byte('0' + n%10)
		n /= 10
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return innermost(err), false
	}
	// A parser for this one purpose would save a microsecond of some fifteen, and
	// would have to know chunked bodies, too.
	answer, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return innermost(err), false
	}
	c.body.Reset()
	if _, err := c.body.ReadFrom(io.LimitReader(answer.Body, 64<<10)); err != nil {
		return innermost(err), false
	}
	if err := answer.Body.Close(); err != nil { // reads what is left
		return innermost(err), false
	}
	switch {
	case answer.StatusCode != http.StatusOK:
		why = strings.TrimSpace(fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode)))
	case !bytes.Contains(c.body.Bytes(), c.target.want):
		why = fmt.Sprintf("200 without %s", c.target.want)
	}
	return why, !answer.Close
}

// innermost says what an error is about without the addresses around it, by
// which every connection would have a failure of its own.
func innermost(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "connection closed without a whole answer"
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
