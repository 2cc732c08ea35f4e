package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

// What is no HTTP, or no request that reaches the table of answers, tells no token either.
func TestTokenOfMalformedRequestIsNotTold(t *testing.T) {
	t.Parallel()
	r := start(t, tokenEnv)
	requests := []string{
		"POST " + goodPath + "%zz HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"POST " + goodPath + " HTTP/9.9\r\nHost: h\r\n\r\n",
		"POST " + goodPath + "\r\n\r\n",
		"POST " + goodPath + " HTTP/1.1\r\nHost: h\r\nContent-Length: ten\r\n\r\n",
		"POST " + goodPath + " HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + goodToken + "\r\nBad header\r\n\r\n",
		"POST " + goodPath + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
		"POST " + goodPath + "?a=1;b=2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n{}x",
		"POST " + goodPath + " HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"CONNECT " + goodToken + ":1 HTTP/1.1\r\nHost: h\r\n\r\n",
		goodToken + " / HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST http://relay:" + goodToken + "@h/nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		goodToken,
	}
	for _, request := range requests {
		wantNoToken(t, "an answer", r.raw(t, request), goodToken)
	}
	r.Close()
	wantNoToken(t, "the log", r.log.text(), goodToken)
}

// The library answers this one by itself unless it is told not to.
func TestOptionsOfTheServerAreRefused(t *testing.T) {
	t.Parallel()
	r := start(t)
	answer := r.raw(t, "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	readReply(t, strings.NewReader(answer)).wantProblem(t, http.StatusNotFound, "not-found")
	if line := r.log.webhook(t, 1); line["outcome"] != "rejected" {
		t.Errorf("logged %v", line)
	}
}

func TestPanicIsAnsweredAndTellsNoToken(t *testing.T) {
	t.Parallel()
	address := "https://relay:" + goodToken + "@relay.example" + goodPath
	for _, test := range []struct {
		name  string
		panic func()
		told  string
	}{
		{"text", func() { panic("cannot reach " + address) }, "string"},
		{"error", func() { panic(errors.New("cannot reach " + address)) }, "*errors.errorString"},
		{"address", func() { panic(&url.Error{Op: "Post", URL: address, Err: io.EOF}) }, "*url.Error"},
		{"request", func() { panic(http.Header{"Authorization": {"Bearer " + goodToken}}) }, "http.Header"},
		{"structure", func() { panic(struct{ Token string }{goodToken}) }, "struct"},
		{"of the runtime", func() { _ = strings.Split(goodToken, ".")[len(goodToken)] }, "runtime error: index out of range"},
		{"of the library", func() { panic(http.ErrAbortHandler) }, "*errors.errorString"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			r := startWith(t, storeFunc(func(_ context.Context, msg event.Message) (store.Receipt, error) {
				if calls++; calls == 1 {
					test.panic()
				}
				return store.Receipt{Stream: "APIXO", Sequence: 1}, nil
			}), tokenEnv, "RELAY_MAX_IN_FLIGHT=1")
			got := r.post(t, goodPath+"?model=m", success("task_1"))
			got.wantProblem(t, http.StatusServiceUnavailable, "internal-error")
			wantNoToken(t, "the answer", fmt.Sprint(got), goodToken)

			line := r.log.webhook(t, 1)
			told, _ := line["panic"].(string)
			if line["level"] != "ERROR" || line["outcome"] != "unavailable" || !strings.HasPrefix(told, test.told) || !strings.Contains(told, "secrecy_test.go") {
				t.Errorf("logged %v; want the panic and its stack", line)
			}
			// What panicked is not counted as in flight for ever.
			r.post(t, goodPath, success("task_1")).wantStored(t, receipt{"task_1", "APIXO", 1, false})
			r.Close()
			wantNoToken(t, "the log", r.log.text(), goodToken)
		})
	}
}
