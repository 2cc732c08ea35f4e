package receiver_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/hostile"
	"github.com/apixo-relay/apixo-relay/schema"
)

// mark stands in every hostile text.
const mark = hostile.Mark

var chunk, raw = hostile.Chunk, hostile.Head

// corpusEnv are the settings for the corpus, and more.
func corpusEnv(more ...string) []string { return append(hostile.Environ(), more...) }

// TestHostileRequests holds every answer against what it has to be, and then
// looks at all that has come of them.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{
		{"RELAY_LOG_FORMAT=json", "RELAY_CE_MODE=structured"},
		{"RELAY_LOG_FORMAT=text", "RELAY_CE_MODE=binary"},
	} {
		t.Run(strings.Join(env, " "), func(t *testing.T) {
			t.Parallel()
			c := hostile.New()
			if len(c.Cases) < 150 {
				t.Errorf("only %d cases", len(c.Cases))
			}
			r := start(t, corpusEnv(env...)...)
			series := r.series(t)
			k := newKept()
			for _, h := range c.Cases {
				r.provoke(t, h, k)
			}
			r.wantKept(t, k)
			if after := r.series(t); !slices.Equal(series, after) {
				t.Errorf("the series were\n%s\nand are\n%s", strings.Join(series, "\n"), strings.Join(after, "\n"))
			}
			r.post(t, goodPath, c.Task()) // still there for those who are good
			r.Close()
			r.wantCleanLog(t)
		})
	}
}

// TestHostileHosts does so with a relay that asks nobody for a token, and that
// web pages could reach.
func TestHostileHosts(t *testing.T) {
	t.Parallel()
	r := start(t, append(hostile.OpenEnviron(), "RELAY_LOG_FORMAT=json")...)
	k := newKept()
	for _, h := range hostile.NewOpen().Cases {
		r.provoke(t, h, k)
	}
	r.wantKept(t, k)
	r.Close()
	r.wantCleanLog(t)
}

// provoke writes a request and holds the answers against what is wanted.
func (r *relay) provoke(t *testing.T, h hostile.Case, k *kept) {
	t.Helper()
	answer := r.raw(t, h.Request)
	wantNoToken(t, "the answer to "+h.Name, answer, goodToken)
	from := bufio.NewReader(strings.NewReader(answer))
	bodies := h.Bodies
	for i, want := range h.Want {
		method, _, _ := strings.Cut(h.Request, " ")
		res, err := http.ReadResponse(from, &http.Request{Method: method})
		if err != nil {
			t.Errorf("%s: %v instead of answer %d, %s; %q", h.Name, err, i+1, want, answer)
			return
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Errorf("%s: %v in answer %d", h.Name, err, i+1)
		}
		got := fmt.Sprint(res.StatusCode)
		var problem document
		if json.Unmarshal(body, &problem); problem.Type != "" {
			_, slug, _ := strings.Cut(problem.Type, "#")
			got += " " + slug
		}
		if method == "HEAD" && strings.HasPrefix(want, got) {
			continue // which has no body
		}
		if got != want {
			t.Errorf("%s: answer %d is %s, want %s; %s", h.Name, i+1, got, want, body)
			return
		}
		switch {
		case got == "200":
			k.event(t, body, bodies[0])
			bodies = bodies[1:]
		case problem.Quarantined != nil:
			k.quarantined[problem.Quarantined.Sequence] = bodies[0]
			bodies = bodies[1:]
		case strings.HasSuffix(got, " not-json"), strings.HasSuffix(got, " not-a-result"), strings.HasSuffix(got, " unsupported-media-type"):
			t.Errorf("%s: answered %s, and does not say where it is kept", h.Name, body)
		}
		for _, c := range body {
			if c != '\n' && (c < ' ' || c > '~') {
				t.Errorf("%s: answered with the byte %#x: %q", h.Name, c, body)
				break
			}
		}
	}
	if rest, _ := io.ReadAll(from); len(rest) > 0 {
		t.Errorf("%s: there is another answer, %q", h.Name, rest)
	}
}

// kept is what the answers say is stored.
type kept struct {
	events      map[uint64]string // task ids by sequence
	quarantined map[uint64]string // bodies
}

func newKept() *kept { return &kept{make(map[uint64]string), make(map[uint64]string)} }

// event notes what a 200 says, which has to be about the webhook that was sent.
func (k *kept) event(t *testing.T, answer []byte, body string) {
	t.Helper()
	var got receipt
	strictly(t, string(answer), &got)
	webhook, err := schema.ParseWebhook([]byte(body))
	if err != nil || webhook.Task.ID != got.TaskID {
		t.Errorf("%q is acknowledged as %s, %v", body, answer, err)
	}
	k.events[got.Sequence] = got.TaskID
}

var (
	taskIDs = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)
	digests = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// headerNames are the names that a message may have, those among them that the
	// broker adds to what is asked for, and headerValues what they may hold.
	headerNames  = regexp.MustCompile(`^(Nats-(Msg-Id|Stream|Subject|Sequence|Time-Stamp)|Content-Type|ce-(specversion|id|source|type|subject|time|datacontenttype|dataschema|model|tenant|traceparent|tracestate|normalized|reason|detail)|traceparent|tracestate)$`)
	headerValues = regexp.MustCompile(`^[!-~]+$`)
)

// wantKept fails the test unless just that is stored which the answers say, and
// as it came, in messages that nothing from outside has shaped.
func (r *relay) wantKept(t *testing.T, k *kept) {
	t.Helper()
	r.wantCounts(t, len(k.events), len(k.quarantined))
	for _, stream := range []string{schema.DefaultStream, schema.DefaultQuarantine} {
		for _, msg := range r.stored(t, stream) {
			e, err := schema.DecodeMessage(msg.Header, msg.Data)
			if err != nil {
				t.Fatalf("message %d of %s: %v", msg.Sequence, stream, err)
			}
			subjects, ids := []string{"apixo.task.success", "apixo.task.failed"}, taskIDs
			if stream == schema.DefaultQuarantine {
				subjects, ids = []string{"apixo.quarantine.rejected"}, digests
				if body, ok := k.quarantined[msg.Sequence]; !ok || !bytes.Equal(e.Data, []byte(body)) {
					t.Errorf("%q is kept as %q", body, e.Data)
				}
			} else if k.events[msg.Sequence] != e.ID {
				t.Errorf("the event %s is stored at %d, which was told to %q", e.ID, msg.Sequence, k.events[msg.Sequence])
			}
			if id := msg.Header.Get("Nats-Msg-Id"); !slices.Contains(subjects, msg.Subject) || id != e.ID || !ids.MatchString(id) {
				t.Errorf("message %d of %s is on %q with the id %q", msg.Sequence, stream, msg.Subject, id)
			}
			for name, values := range msg.Header {
				if !headerNames.MatchString(name) || len(values) != 1 || !headerValues.MatchString(values[0]) {
					t.Errorf("message %d of %s has the header %q: %q", msg.Sequence, stream, name, values)
				}
			}
		}
	}
}

// wantCleanLog fails the test if anything from outside is in the log. The
// server must be closed.
func (r *relay) wantCleanLog(t *testing.T) {
	t.Helper()
	text := r.log.text()
	wantNoToken(t, "the log", text, goodToken)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		var object map[string]any
		switch {
		case strings.ContainsFunc(line, func(c rune) bool { return (c < ' ' || c > '~') && c != 'µ' }): // as in µs
			t.Errorf("there are control characters, or others that are not ASCII, in %q", line)
		case strings.Contains(line, mark):
			t.Errorf("something from outside is in %q", line)
		case strings.Contains(line, "internal-error"), strings.Contains(line, "panic"):
			t.Errorf("the relay was at fault: %s", line)
		case strings.HasPrefix(line, "time="):
		default:
			if err := json.Unmarshal([]byte(line), &object); err != nil {
				t.Errorf("%v: %q", err, line)
			}
		}
	}
}

// series are the names of all metrics with their labels.
func (r *relay) series(t *testing.T) (series []string) {
	t.Helper()
	rec := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(rec.Body.String()) {
		if i := strings.LastIndexByte(line, ' '); !strings.HasPrefix(line, "#") {
			series = append(series, line[:i])
		}
	}
	if len(series) < 100 {
		t.Errorf("hardly any metrics:\n%s", rec.Body)
	}
	return series
}
