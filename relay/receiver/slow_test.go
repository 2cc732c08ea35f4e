package receiver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

// nudge is how often a slow sender writes a byte.
const nudge = 50 * time.Millisecond

// slow opens connections on which a sender writes a start, and then more and
// more, as fast as it may, until it is cut off.
type slow struct {
	name, start, more string
	pause             time.Duration // none means without end and without a break
	reads             bool          // what is answered
}

// run holds one connection until the server ends it.
func (s slow) run(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := errors.Join(conn.(*net.TCPConn).SetReadBuffer(4<<10), conn.SetDeadline(time.Now().Add(patience))); err != nil {
		return err
	}
	ended := make(chan error, 1)
	if s.reads {
		go func() {
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}()
	}
	_, err = io.WriteString(conn, s.start)
	for err == nil {
		select {
		case err = <-ended:
			if err == nil {
				err = io.EOF
			}
			continue
		case <-time.After(s.pause):
		}
		_, err = io.WriteString(conn, s.more)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: still connected after %s", s.name, patience)
	}
	return nil
}

// smallBuffers are connections of which the system takes little ahead.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return conn, err
}

// Good webhooks are answered among hundreds of senders who take their time, or
// never end, and all of those are cut off.
func TestSlowSendersHurtNobody(t *testing.T) {
	t.Parallel()
	r := start(t, tokenEnv, "RELAY_PUBLISH_TIMEOUT=4s", "RELAY_LOG_LEVEL=error")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := r.receiver.Server(nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(smallBuffers{listener}) }()
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), ignoreClosed(<-served)); err != nil {
			t.Error(err)
		}
	})

	const chunked = "Transfer-Encoding: chunked"
	filler := chunk(strings.Repeat(" ", 16<<10))
	var senders sync.WaitGroup
	for _, s := range []struct {
		connections int
		slow
	}{
		{40, slow{"nothing at all", "", "", nudge, true}},
		{40, slow{"request line", "P", "O", nudge, true}},
		{40, slow{"headers", "POST " + goodPath + " HTTP/1.1\r\nHost: h\r\nX-A: ", "a", nudge, true}},
		{40, slow{"body without a token", raw("POST "+webhookPath, "Content-Length: 100000"), "x", nudge, true}},
		{40, slow{"chunks without a token", raw("POST "+webhookPath, chunked), "1\r\nx\r\n", nudge, true}},
		{40, slow{"body", raw("POST "+goodPath, "Content-Length: 100000"), "x", nudge, true}},
		{40, slow{"chunks", raw("POST "+goodPath, chunked), "1\r\nx\r\n", nudge, true}},
		{40, slow{"trailers", raw("POST "+goodPath, chunked) + "0\r\nX-A: ", "x", nudge, true}},
		{20, slow{"answers not read", "", strings.Repeat(raw("POST "+webhookPath), 100), 0, false}},
		{3, slow{"endless without a token", raw("POST "+webhookPath, chunked), filler, 0, false}},
		{3, slow{"endless", raw("POST "+goodPath, chunked), filler, 0, false}},
		{3, slow{"endless with a length", raw("POST "+goodPath, "Content-Length: 999999999999"), filler, 0, false}},
		{3, slow{"endless headers", "POST " + goodPath + " HTTP/1.1\r\n", "X-A: " + strings.Repeat("a", 100) + "\r\n", 0, false}},
	} {
		for range s.connections {
			senders.Go(func() {
				if err := s.run(listener.Addr().String()); err != nil {
					t.Error(err)
				}
			})
		}
	}
	slowEnded := make(chan struct{})
	go func() { senders.Wait(); close(slowEnded) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	sent, slowest := 0, time.Duration(0)
	for done := false; !done; {
		select {
		case <-slowEnded:
			done = true
		case <-time.After(nudge):
		}
		before := time.Now()
		res, err := client.Post("http://"+listener.Addr().String()+goodPath, "application/json", strings.NewReader(success(fmt.Sprintf("task_%d", sent))))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("a good webhook is answered %s", res.Status)
		}
		sent, slowest = sent+1, max(slowest, time.Since(before))
	}
	t.Logf("%d good webhooks, the slowest of which took %s", sent, slowest)
	if slowest > patience/3 {
		t.Errorf("a good webhook had to wait %s", slowest)
	}
	r.wantCounts(t, sent, 0)
	r.wantMetric(t, "apixo_relay_in_flight_requests", 0)
}

// expecting starts a webhook and leaves out its body. It returns once the relay
// waits for that, or has answered.
func (r *relay) expecting(t *testing.T, path string) (status int, answers *bufio.Reader) {
	t.Helper()
	conn := r.dialRaw(t)
	if _, err := io.WriteString(conn, raw("POST "+path, "Content-Length: 1000", "Expect: 100-continue")); err != nil {
		t.Fatal(err)
	}
	answers = bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode, answers
}

// Senders with a token can take all places, but for no longer than their bodies
// may take to come.
func TestSlowBodiesLeaveTheirPlaces(t *testing.T) {
	t.Parallel()
	const places = 4
	r := startWith(t, storeFunc(always), tokenEnv, fmt.Sprintf("RELAY_MAX_IN_FLIGHT=%d", places), "RELAY_PUBLISH_TIMEOUT=10s")
	var holders []*bufio.Reader
	for range places {
		status, answers := r.expecting(t, goodPath)
		if status != http.StatusContinue {
			t.Fatalf("answered %d", status)
		}
		holders = append(holders, answers)
	}
	r.post(t, goodPath, success("task_1")).wantProblem(t, http.StatusServiceUnavailable, "overloaded")
	for _, answers := range holders {
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("answered %s", res.Status)
		}
	}
	r.post(t, goodPath, success("task_1")).wantStored(t, receipt{"task_1", "APIXO", 1, false})
}

// Senders without a token take no place, however slow they are.
func TestSlowBodiesWithoutTokenTakeNoPlace(t *testing.T) {
	t.Parallel()
	r := startWith(t, storeFunc(always), tokenEnv, "RELAY_MAX_IN_FLIGHT=1")
	for range 20 {
		if status, _ := r.expecting(t, webhookPath); status != http.StatusUnauthorized {
			t.Fatalf("answered %d", status)
		}
		r.dialSlowly(t, raw("POST "+webhookPath, "Content-Length: 200000")+"{")
	}
	r.post(t, goodPath, success("task_1")).wantStored(t, receipt{"task_1", "APIXO", 1, false})
}

// dialSlowly begins a request, and waits for its answer without going on with it.
func (r *relay) dialSlowly(t *testing.T, begun string) {
	t.Helper()
	conn := r.dialRaw(t)
	if _, err := io.WriteString(conn, begun); err != nil {
		t.Fatal(err)
	}
	readReply(t, conn)
}

// untouchable is a body that must not be read.
type untouchable struct{ t *testing.T }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

func TestBodyIsNotReadForNothing(t *testing.T) {
	t.Parallel()
	r := startWith(t, storeFunc(func(context.Context, event.Message) (store.Receipt, error) {
		t.Error("stored")
		return store.Receipt{}, nil
	}), tokenEnv)
	for _, test := range []struct {
		method, path string
		change       change
		status       int
	}{
		{"POST", webhookPath, nil, 401},
		{"POST", "/nowhere", nil, 404},
		{"PUT", goodPath, nil, 405},
		{"POST", webhookPath, header("Content-Type", "text/plain"), 401},
		{"POST", goodPath, func(r *http.Request) { r.ContentLength = 1 << 40 }, 413},
	} {
		req := httptest.NewRequest(test.method, test.path, untouchable{t})
		if test.change != nil {
			test.change(req)
		}
		rec := httptest.NewRecorder()
		r.receiver.ServeHTTP(rec, req)
		if rec.Code != test.status {
			t.Errorf("%s %s: answered %d", test.method, test.path, rec.Code)
		}
	}
}
