package receiver_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	const limit = 1024
	sized := func(n int) string {
		webhook := success("task_1")
		return webhook + strings.Repeat(" ", n-len(webhook))
	}
	for _, test := range []struct {
		name string
		size int
		good bool
	}{
		{"at the limit", limit, true},
		{"one byte over", limit + 1, false},
		{"far over", 1 << 20, false},
	} {
		for framing, changes := range map[string][]change{"sized": nil, "chunked": {chunked}} {
			t.Run(test.name+" "+framing, func(t *testing.T) {
				t.Parallel()
				r := start(t, fmt.Sprintf("RELAY_MAX_BODY_BYTES=%d", limit))
				got := r.post(t, webhookPath, sized(test.size), changes...)
				if test.good {
					got.wantStored(t, receipt{"task_1", "APIXO", 1, false})
					r.wantCounts(t, 1, 0)
					if line := r.log.webhook(t, 1); line["size"] != float64(limit) {
						t.Errorf("logged %v", line)
					}
					return
				}
				if problem := got.wantProblem(t, http.StatusRequestEntityTooLarge, "body-too-large"); !strings.Contains(problem.Detail, "1024") {
					t.Errorf("the detail does not name the limit: %s", problem.Detail)
				}
				r.wantCounts(t, 0, 0)
			})
		}
	}
}

// The largest body with the largest attributes still makes a message that the
// broker was told to expect.
func TestLargestEventIsStored(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	var names []string
	query := url.Values{
		"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "tracestate": {strings.Repeat(`"`, 512)},
	}
	for i := range 10 {
		name := strings.Repeat(string(rune('a'+i)), 20)
		names = append(names, name)
		query.Set(name, strings.Repeat(`"`, event.MaxAttributeBytes)) // doubled in JSON, three times as long in a header
	}
	id := strings.Repeat("i", 128)
	head, tail := `{"data":{"taskId":"`+id+`","state":"success","resultJson":{"resultUrls":["`, `"]}}}`
	body := head + strings.Repeat("u", limit-len(head)-len(tail)) + tail // comes twice in its event
	for _, mode := range []string{"structured", "binary"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := start(t, fmt.Sprintf("RELAY_MAX_BODY_BYTES=%d", limit), "RELAY_CE_MODE="+mode,
				"RELAY_CALLBACK_ATTRIBUTES="+strings.Join(names, ","), "RELAY_CE_SOURCE=https://a/"+strings.Repeat("%22", 338))
			r.post(t, webhookPath+"?"+query.Encode(), body).wantStored(t, receipt{id, "APIXO", 1, false})
			if e := r.events(t, "APIXO")[0]; len(e.Data) < 2*limit-1024 || len(e.Extensions) != len(names)+2 {
				t.Errorf("the event has %d bytes and %d attributes", len(e.Data), len(e.Extensions))
			}
			r.post(t, webhookPath+"?"+query.Encode(), body[:limit-1]).wantProblem(t, http.StatusBadRequest, "not-json")
		})
	}
}

// A body of which a part is missing is neither an event nor a bad webhook.
func TestBodyThatDoesNotComeWhole(t *testing.T) {
	t.Parallel()
	webhook := success("task_1")
	head := "POST " + webhookPath + " HTTP/1.1\r\nHost: localhost\r\n"
	for name, request := range map[string]string{
		"half of it":         head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(webhook)) + webhook[:len(webhook)/2],
		"whole but for a \n": head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(webhook)+1) + webhook,
		"no last chunk":      head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(webhook), webhook),
		"no chunks":          head + "Transfer-Encoding: chunked\r\n\r\n" + webhook,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			if answer := r.raw(t, request); answer != "" {
				readReply(t, strings.NewReader(answer)).wantProblem(t, http.StatusBadRequest, "body-incomplete")
			}
			if line := r.log.webhook(t, 1); line["outcome"] != "rejected" {
				t.Errorf("logged %v", line)
			}
			r.wantCounts(t, 0, 0)
		})
	}
}

func TestBodyThatComesTooSlowly(t *testing.T) {
	t.Parallel()
	r := start(t)
	server := httptest.NewUnstartedServer(nil)
	server.Config = r.receiver.Server(nil)
	if server.Config.ReadTimeout <= 0 || server.Config.ReadHeaderTimeout <= 0 || server.Config.IdleTimeout <= 0 {
		t.Fatal("a sender may take for ever")
	}
	if server.Config.WriteTimeout <= server.Config.ReadTimeout+r.cfg.Webhooks.PublishTimeout {
		t.Error("the time for an answer is over before that for storing is")
	}
	server.Config.ReadTimeout = 50 * time.Millisecond // or the test would take as long as a sender may
	server.Start()
	t.Cleanup(server.Close)

	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n%s", webhookPath, success("task_1")); err != nil {
		t.Fatal(err)
	}
	got := readReply(t, conn)
	got.wantProblem(t, http.StatusRequestTimeout, "body-too-slow")
	if got.header.Get("Connection") != "close" {
		t.Error("the connection, with the rest of the body to come, is kept")
	}
	r.wantCounts(t, 0, 0)
}

func readReply(t *testing.T, from io.Reader) reply {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(from), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.Close {
		res.Header.Set("Connection", "close") // ReadResponse takes it out
	}
	return reply{res.StatusCode, res.Header, string(body)}
}
