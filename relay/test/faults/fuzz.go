package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/hostile"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// fuzzer is what came of webhooks that were changed at random.
type fuzzer struct {
	*trial
	mu       sync.Mutex
	statuses map[int]int
	stored   map[string]rig.Receipt // by task
	kept     keptBodies
	slowest  time.Duration
	failures []string
}

func fuzzed(t *trial) {
	r := t.embedded("RELAY_WEBHOOK_TOKENS="+hostile.Token, fmt.Sprintf("RELAY_MAX_BODY_BYTES=%d", fuzzLimit))
	load := r.Vary(inPath(hostile.Token)).StartLoad(t.ctx, "fresh", rig.Pace{Workers: 2})
	f := &fuzzer{trial: t, statuses: make(map[int]int), stored: make(map[string]rig.Receipt), kept: make(keptBodies)}
	end := time.Now().Add(t.duration(5*time.Second, 2*time.Minute))
	var workers sync.WaitGroup
	for worker := range 8 {
		m := &mutator{Rand: rand.New(rand.NewPCG(t.rand.Uint64(), uint64(worker)))}
		workers.Go(func() { f.work(r.Sender, m, fmt.Sprintf("fuzz_%d", worker), end) })
	}
	workers.Wait()
	for _, failure := range f.failures {
		t.fail("%s", failure)
	}
	t.goesOn(load, 100)
	t.must(r.Healthy(t.ctx))
	o := load.Stop()
	t.count(o)
	t.only(o)
	sent := 0
	for _, n := range f.statuses {
		sent += n
	}
	t.answered(sent, f.statuses[http.StatusOK], f.slowest)
	var accepted []rig.Receipt
	for _, receipt := range f.stored {
		accepted = append(accepted, receipt)
	}
	t.rounds = append(t.rounds, accepted)
	if all := t.audit(r.Broker); len(all) != len(f.stored)+len(o.Accepted) {
		t.fail("%d tasks are stored, and %d were told to be", len(all), len(f.stored)+len(o.Accepted))
	}
	t.quarantineHolds(r.Broker, f.kept)
	for _, status := range []int{200, 400, 401, 405, 413, 415, 422} {
		if f.statuses[status] == 0 {
			t.fail("no request came to %d: the changes are not what they should be", status)
		}
	}
	t.note("answers by status: %v", f.statuses)
}

// work sends one request after the other on a connection that is kept where the
// relay keeps it.
func (f *fuzzer) work(s *rig.Sender, m *mutator, prefix string, end time.Time) {
	c := s.NewConn()
	defer c.Close()
	for i := 0; time.Now().Before(end) && f.ctx.Err() == nil; i++ {
		m.id = fmt.Sprintf("%s_%d", prefix, i)
		body, request := m.body(), m.request()
		if m.one(0.03) {
			f.head(s, m, request, body)
			continue
		}
		status := request.status
		var task string
		switch {
		case status != 0 && status != http.StatusUnsupportedMediaType: // the body is not read
		case len(body) > fuzzLimit:
			status = http.StatusRequestEntityTooLarge
		case status == 0:
			status, task = judge([]byte(body))
		}
		a, err := c.Exchange(f.ctx, request.text(body), request.method)
		f.note(a, body, task)
		if err != nil || a.Status != status || status == http.StatusOK && a.TaskID != task {
			f.failed("%d and the task %q are due and %+v came (%v): %q", status, task, a, err, request.text(body))
		}
	}
}

// note remembers what an answer says is kept.
func (f *fuzzer) note(a rig.Answer, body, task string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.statuses[a.Status]++
	f.slowest = max(f.slowest, a.Took)
	if a.Status == http.StatusOK {
		f.stored[a.TaskID] = rig.Receipt{ID: a.TaskID, Stream: a.Stream, Sequence: a.Sequence}
	}
	switch {
	case a.Conflict:
		f.kept.conflict(body, task)
	case a.Quarantined.Sequence > 0:
		f.kept.rejected(body)
	}
}

func (f *fuzzer) failed(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.failures) < 10 {
		f.failures = append(f.failures, fmt.Sprintf(format, args...))
	}
}

// answersToHeads are those to a request whose head is not what it was: the
// contract's, and the library's to what is no HTTP.
var answersToHeads = []int{200, 400, 401, 404, 405, 413, 415, 417, 422, 431, 501, 505}

// head changes bytes of the head of a request up to its last line, which says
// how long the body is. That may be lost on the relay, and then the body is none:
// what stands there is no request.
func (f *fuzzer) head(s *rig.Sender, m *mutator, q request, body string) {
	head, last, _ := strings.Cut(q.text(body), "Content-Length:")
	for range 1 + m.IntN(3) {
		head = m.bytes(head)
	}
	text := head + "Content-Length:" + last
	method, _, _ := strings.Cut(text, " ")
	answers, err := s.Raw(f.ctx, text, method)
	if err != nil || len(answers) == 0 {
		f.failed("%d answers came (%v) to %q", len(answers), err, text)
		return
	}
	status, task := judge([]byte(body))
	for i, a := range answers {
		kept, refused := body, a.Status == http.StatusUnsupportedMediaType
		if a.Code == "empty-body" && a.Status == http.StatusBadRequest || refused && i < len(answers)-1 {
			kept = ""
		} else if a.Quarantined.Sequence > 0 && a.Status != status && !refused {
			f.failed("%+v came, and %d is due to the body of %q", a, status, text)
		}
		if !slices.Contains(answersToHeads, a.Status) || a.Status == http.StatusOK && (status != http.StatusOK || a.TaskID != task) {
			f.failed("%+v came to %q", a, text)
		}
		f.note(a, kept, task)
	}
}
