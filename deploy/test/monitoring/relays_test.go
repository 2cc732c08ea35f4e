package monitoring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// token is in the callback URLs.
const token = "a-token-of-the-tests"

// node is a relay that keeps its addresses and its data over restarts.
type node struct {
	*relaytest.Relay
	name     string // of its tasks, and of its instance
	job      string // of its scrapes, if it is another one than that of the others
	origin   string // of most results' files, if not where those of others are
	program  string
	settings []string
}

func startNode(t *testing.T, program, name string, settings ...string) *node {
	t.Helper()
	n := &node{name: name, program: program, settings: append(settings, "RELAY_WEBHOOK_TOKENS="+token, "RELAY_DATA_DIR="+t.TempDir())}
	n.Relay = relaytest.Start(t, program, n.settings...)
	n.settings = append(n.settings, "RELAY_LISTEN_ADDR="+host(t, n.Webhooks), "RELAY_ADMIN_ADDR="+host(t, n.Admin))
	if strings.HasPrefix(n.Broker, "nats://") && !strings.Contains(strings.Join(settings, " "), "NATS_URL") {
		n.settings = append(n.settings, "RELAY_EMBEDDED_ADDR="+host(t, n.Broker))
	}
	return n
}

// startFailing starts a relay whose store cannot grow far: writing beyond the limit of
// a file's size is a write error, after which the relay has to end with exit code 1.
func startFailing(t *testing.T, program, name string) *node {
	t.Helper()
	cmd := exec.Command("bash", "-c", `ulimit -f 200; "$0" & trap "kill $!" TERM; wait $!; [ $? = 1 ]`, program)
	cmd.Env = relaytest.Environ("RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0", "RELAY_EMBEDDED_ADDR=127.0.0.1:0",
		"RELAY_DATA_DIR="+t.TempDir(), "RELAY_LOG_FORMAT=json")
	return &node{name: name, Relay: relaytest.Run(t, cmd)}
}

func host(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// stop ends it in order.
func (n *node) stop(t *testing.T) {
	t.Helper()
	if err := n.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, "the relay ends", func() bool { return errors.Is(n.Process.Signal(syscall.Signal(0)), os.ErrProcessDone) })
}

// start starts it again where it was.
func (n *node) start(t *testing.T) {
	t.Helper()
	n.Relay = relaytest.Start(t, n.program, n.settings...)
}

// post sends a body as APIXO does, but once. What comes of it the metrics tell.
func (n *node) post(ctx context.Context, token, body string) {
	post(ctx, strings.Replace(n.Webhooks, "TOKEN", token, 1), body)
}

func post(ctx context.Context, at, body string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

// webhook is about a task that ended some time ago.
func (n *node) webhook(id int, failCode string, ago time.Duration) string {
	ended := time.Now().Add(-ago)
	cost := time.Duration(2000+id*7919%40000) * time.Millisecond
	origin := "https://cdn.example.com"
	if n.origin != "" && id%5 != 0 {
		origin = n.origin
	}
	result := `"state":"success","resultJson":"{\"resultUrls\":[\"` + origin + `/a.jpg\"]}"`
	if failCode != "" {
		result = fmt.Sprintf(`"state":"failed","failCode":%q,"failMsg":"no"`, failCode)
	}
	return fmt.Sprintf(`{"code":200,"message":"success","data":{"taskId":"%s_%d",%s,"costTime":%d,"createTime":%d,"completeTime":%d}}`,
		n.name, id, result, cost.Milliseconds(), ended.Add(-cost).UnixMilli(), ended.UnixMilli())
}

var failCodes = []string{"CONTENT_VIOLATION", "NSFW_DETECTED", "CONTENT_VIOLATION", "INSUFFICIENT_CREDITS", "A_NEW_ONE"}

// mixed sends webhook number i, of all kinds that there are.
func (n *node) mixed(ctx context.Context, i int) {
	lag := time.Duration(200+i*131%900) * time.Millisecond
	switch {
	case i%41 == 0: // a task that is not there to be contradicted ends well
		n.post(ctx, token, n.webhook(i, "", lag))
		n.post(ctx, token, n.webhook(i, "GENERATION_FAILED", lag))
	case i%29 == 0:
		n.post(ctx, token, fmt.Sprintf(`{"code":200,"data":{"taskId":"task_%d","state":"processing"}}`, i))
	case i%31 == 0:
		n.post(ctx, "another-token-0123", n.webhook(i, "", lag))
	case i%37 == 0:
		n.post(ctx, token, `{"data":"`+string(bytes.Repeat([]byte("x"), 300<<10))+`"}`)
	case i%6 == 0:
		n.post(ctx, token, n.webhook(i, failCodes[i/6%len(failCodes)], lag))
	case i%5 == 0:
		for range 3 {
			n.post(ctx, token, n.webhook(i, "", lag))
		}
	case i%64 == 1: // many at once, which share an fsync
		var all sync.WaitGroup
		for k := range 32 {
			all.Go(func() { n.post(ctx, token, n.webhook(1_000_000+32*i+k, "", lag)) })
		}
		all.Wait()
	default:
		n.post(ctx, token, n.webhook(i, "", lag))
	}
}

// troubled sends webhook number i to a relay that takes one at a time: most of them
// with a token that it does not know, the others late.
func (n *node) troubled(ctx context.Context, i int) {
	n.post(ctx, "another-token-0123", n.webhook(i, "", 0))
	if i%8 == 0 {
		n.post(ctx, token, n.webhook(i, "", 10*time.Minute))
	}
	if i%32 == 0 {
		var all sync.WaitGroup
		for k := range 16 {
			all.Go(func() { n.post(ctx, token, n.webhook(1_000_000+16*i+k, "", 10*time.Minute)) })
		}
		all.Wait()
	}
}

// expecting announces task number i, and sends the webhook of every other one.
func (n *node) expecting(ctx context.Context, i int) {
	at := strings.Replace(n.Webhooks, "TOKEN", token, 1)
	post(ctx, strings.Replace(at, "/webhook/apixo", "/expect", 1), fmt.Sprintf(`{"taskId":"%s_%d","model":"nano-banana"}`, n.name, i))
	switch {
	case i%2 == 0 && i%10 != 0:
		post(ctx, at+"?model=nano-banana", n.webhook(i, "", time.Second))
	case i%20 == 0: // of which nobody can be asked
		n.post(ctx, token, n.webhook(i, "", time.Second))
	}
}

// status is what the status API tells of the tasks of expecting.
func (n *node) status(w http.ResponseWriter, r *http.Request, taskID string) {
	var i int
	_, _ = fmt.Sscanf(taskID, n.name+"_%d", &i)
	switch {
	case i%7 == 1:
		fakeapi.State("processing")(w, r, taskID)
	case i%11 == 2: // its webhook says otherwise
		fakeapi.Body(http.StatusOK, n.webhook(i, "GENERATION_FAILED", time.Second))(w, r, taskID)
	default:
		fakeapi.Body(http.StatusOK, n.webhook(i, "", time.Second))(w, r, taskID)
	}
}

// traffic sends until the context ends.
func traffic(ctx context.Context, pause time.Duration, send func(context.Context, int)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := 1; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			send(ctx, i)
		}
	}
}
