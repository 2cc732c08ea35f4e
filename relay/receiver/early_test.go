package receiver_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What does not depend on the body is answered before it comes, and the
// connection, on which the rest of the body may stand, is not used again.
func TestAnswersThatDoNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	g := newGate()
	r := startWith(t, g, tokenEnv, "RELAY_MAX_IN_FLIGHT=1", gateBudget)
	held := r.postLater(t, goodPath, success("task_1"))
	g.hold(t, held)
	guarded := startWith(t, g, tokenEnv, "RELAY_ALLOWED_CIDRS=203.0.113.0/24", gateBudget)
	idle := startWith(t, g, tokenEnv, "RELAY_MAX_BODY_BYTES=50000", gateBudget)
	for _, test := range []struct {
		name   string
		relay  *relay
		line   string // of the request
		header string
		status int
		slug   string
	}{
		{"no token", r, "POST " + webhookPath, "", 401, "unauthorized"},
		{"address", guarded, "POST " + goodPath, "", 403, "address-not-allowed"},
		{"path", r, "POST /nowhere", "", 404, "not-found"},
		{"method", r, "PUT " + goodPath, "", 405, "method-not-allowed"},
		{"overloaded", r, "POST " + goodPath, "", 503, "overloaded"},
		{"size", idle, "POST " + goodPath, "", 413, "body-too-large"},
	} {
		for framing, body := range map[string]string{"sized": "Content-Length: 60000\r\n\r\n{", "chunked": "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
			good := t.Run(test.name+" "+framing, func(t *testing.T) {
				if test.name == "size" && framing == "chunked" {
					body = "Transfer-Encoding: chunked\r\n\r\nea60\r\n" + strings.Repeat(" ", 0xea60) + "\r\n"
				}
				conn := test.relay.dialRaw(t)
				before := time.Now()
				if _, err := io.WriteString(conn, test.line+" HTTP/1.1\r\nHost: h\r\n"+test.header+body); err != nil {
					t.Fatal(err)
				}
				got := readReply(t, conn)
				if took := time.Since(before); took > r.Config.ReadTimeout/2 {
					t.Errorf("answered after %s", took)
				}
				got.wantProblem(t, test.status, test.slug)
				if got.header.Get("Connection") != "close" {
					t.Error("the connection, with the rest of the body to come, is kept")
				}
			})
			if !good {
				return // the others would only take their time too
			}
		}
	}
	g.release(t)
	(<-held).wantStored(t, receipt{"task_1", "APIXO", 1, false})
}

// A connection on which nothing is left over is kept, whatever the answer.
func TestConnectionIsKept(t *testing.T) {
	t.Parallel()
	r := startWith(t, storeFunc(always), tokenEnv)
	conn := r.dialRaw(t)
	answers := bufio.NewReader(conn)
	for i, test := range []struct {
		line, body string
		status     int
	}{
		{"POST " + goodPath, success("task_1"), 200},
		{"POST " + goodPath, "no JSON", 400},
		{"POST " + goodPath, "{}", 422},
		{"POST " + goodPath, "", 400},
		{"GET " + goodPath, "", 405},
		{"POST " + webhookPath, "", 401},
		{"POST /nowhere", "", 404},
		{"POST " + goodPath, success("task_2"), 200},
	} {
		if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", test.line, len(test.body), test.body); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != test.status || res.Close {
			t.Errorf("request %d: answered %s, close %v", i, res.Status, res.Close)
		}
	}
}

// However long storing may take, a slow body leaves half of that time for it.
func TestTimeForReadingLeavesTimeForStoring(t *testing.T) {
	t.Parallel()
	for budget, want := range map[string]time.Duration{"20s": 10 * time.Second, "29s": 10 * time.Second, "8s": 4 * time.Second, "1s": time.Second} {
		server := startWith(t, newGate(), "RELAY_PUBLISH_TIMEOUT="+budget).receiver.Server(nil)
		if server.ReadTimeout != want || server.ReadHeaderTimeout <= 0 || server.ReadHeaderTimeout > want {
			t.Errorf("of a budget of %s, reading may take %s, and %s for the headers", budget, server.ReadTimeout, server.ReadHeaderTimeout)
		}
	}
}
