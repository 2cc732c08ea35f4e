package receiver_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

// noWindow is the setting with which a sender in HTTP/2 takes no bodies.
var noWindow = frame(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0})

// goodFields are the headers of a webhook that is let in.
func goodFields(body string) []byte {
	return postFields(goodPath, "content-length", fmt.Sprint(len(body)))
}

// Refusals that nobody takes end soon, and are in nobody's way.
func TestRefusalsThatNobodyTakes(t *testing.T) {
	t.Parallel()
	const connections, streams = 40, 16
	r := startWith(t, storeFunc(always), tokenEnv)
	ca, addr, _ := r.serveTLS(t, func(server *http.Server) { server.WriteTimeout = 2 * patience }) // which is not what ends them
	type outcome struct {
		resets, answers int
		err             error
	}
	outcomes := make(chan outcome, connections)
	for range connections {
		c := dialHTTP2(t, addr, ca)
		c.write(t, noWindow)
		block := postFields(webhookPath, "x", strings.Repeat("v", 14_000))
		for i := range streams {
			c.write(t, frame(frameHeaders, endStream|endHeaders, uint32(2*i+1), block))
		}
		go func() {
			var o outcome
			o.resets, o.answers, o.err = c.allEnded(streams)
			outcomes <- o
		}()
	}
	sum := outcome{}
	for range connections {
		o := <-outcomes
		sum.resets, sum.answers, sum.err = sum.resets+o.resets, sum.answers+o.answers, errors.Join(sum.err, o.err)
	}
	t.Logf("%d waited in vain, %d were told without a body", sum.resets, sum.answers)
	if sum.err != nil || sum.resets+sum.answers != connections*streams {
		t.Fatalf("%+v", sum)
	}
	// Whoever reads gets the whole of it.
	res, err := ca.overHTTP2().Post("https://"+addr+webhookPath, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), "unauthorized") {
		t.Errorf("%s %q %v", res.Status, body, err)
	}
}

// overHTTP2 is a client that speaks nothing else.
func (a *authority) overHTTP2() *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.pool(), ServerName: "127.0.0.1"}, Protocols: new(http.Protocols), DisableKeepAlives: true}
	transport.Protocols.SetHTTP2(true)
	return &http.Client{Transport: transport, Timeout: patience}
}

// allEnded waits until so many streams are answered or reset, and counts both.
func (c http2Conn) allEnded(streams int) (resets, answers int, err error) {
	head := make([]byte, 9)
	for resets+answers < streams {
		if _, err := io.ReadFull(c, head); err != nil {
			return resets, answers, err
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head)>>8)); err != nil {
			return resets, answers, err
		}
		switch kind, flags := head[3], head[4]; {
		case kind == frameReset:
			resets++
		case kind == frameHeaders && flags&endStream != 0:
			answers++
		}
	}
	return resets, answers, nil
}

// Of answers to senders who are let in, too, only so many wait to be taken.
func TestAnswersThatNobodyTakes(t *testing.T) {
	t.Parallel()
	stored := make(chan struct{}, 2)
	r := startWith(t, storeFunc(func(ctx context.Context, msg event.Message) (store.Receipt, error) {
		select {
		case stored <- struct{}{}:
		default:
		}
		return always(ctx, msg)
	}), tokenEnv, "RELAY_MAX_IN_FLIGHT=2")
	ca, addr, _ := r.serveTLS(t, func(server *http.Server) { server.WriteTimeout = patience })
	c := dialHTTP2(t, addr, ca)
	c.write(t, noWindow)
	body := success("task_1")
	for _, stream := range []uint32{1, 3} {
		c.write(t, frame(frameHeaders, endHeaders, stream, goodFields(body)), frame(frameData, endStream, stream, []byte(body)))
	}
	for range 2 { // or the next one would take the place of the second
		<-stored
	}
	until := func(status int) (got reply) {
		t.Helper()
		for end := time.Now().Add(patience); got.status != status; got = r.post(t, goodPath, body) {
			if time.Now().After(end) {
				t.Fatalf("answered %d, want %d", got.status, status)
			}
		}
		return got
	}
	until(http.StatusServiceUnavailable).wantProblem(t, http.StatusServiceUnavailable, "overloaded")
	r.wantMetric(t, "apixo_relay_in_flight_requests", 0)
	c.write(t, frame(frameReset, 0, 1, []byte{0, 0, 0, 8}))
	until(http.StatusOK)
}

// What a connection in HTTP/2 may hold is small, and its sender is told so.
func TestHTTP2SettingsAreSmall(t *testing.T) {
	t.Parallel()
	r := startWith(t, storeFunc(always), tokenEnv)
	ca, addr, ended := r.serveTLS(t, func(*http.Server) {})
	c := dialHTTP2(t, addr, ca)
	head := make([]byte, 9)
	if _, err := io.ReadFull(c, head); err != nil || head[3] != frameSettings {
		t.Fatalf("%x, %v", head, err)
	}
	payload := make([]byte, binary.BigEndian.Uint32(head)>>8)
	if _, err := io.ReadFull(c, payload); err != nil {
		t.Fatal(err)
	}
	got := make(map[uint16]uint32)
	for ; len(payload) >= 6; payload = payload[6:] {
		got[binary.BigEndian.Uint16(payload)] = binary.BigEndian.Uint32(payload[2:])
	}
	for setting, most := range map[uint16]uint32{
		1: 4 << 10,        // of the table for headers
		3: 16,             // streams
		4: 64 << 10,       // window of each
		5: 16 << 10,       // of a frame
		6: 16<<10 + 10*32, // of headers, where the library adds for ten fields
	} {
		if got[setting] == 0 || got[setting] > most {
			t.Errorf("setting %d is %d, want %d at most", setting, got[setting], most)
		}
	}
	// A larger frame ends the connection before anything of it has come.
	c.write(t, frame(frameHeaders, endHeaders, 1, postFields(goodPath)), frame(frameData, 0, 1, make([]byte, 16<<10+1))[:9])
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the connection is kept")
	}
}
