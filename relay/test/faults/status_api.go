package faults

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// apiKey is the key that the status API takes.
const apiKey = "key-5b1f0a9c3d7e2468"

// statusAPI plays APIXO's status API: it knows when each task ends, and how, and sees
// what it is asked.
type statusAPI struct {
	addr string
	fake *fakeapi.API

	mu      sync.Mutex
	server  *http.Server // nil while the port is closed
	latency time.Duration
	tasks   map[string]task
	beside  string         // tasks whose ids begin with that have succeeded; empty if there are none
	trouble fakeapi.Answer // what everybody gets; nil while there is none
	ended   chan struct{}  // closed when the trouble ends
	begun   chan struct{}  // closed, and made anew, with every request
	times   []time.Time    // when each request began
	asking  map[string]int // requests that are under way for a task
	overlap int            // those that began while another was, for the same task
}

// task is what the API knows of one.
type task struct {
	ends   time.Time
	result string // its webhook's body
	// asked is called before the result is told, if it is not nil.
	asked func()
}

// statusAPI starts an API that lives until the row ends. It takes so long for an answer.
func (t *trial) statusAPI(latency time.Duration) *statusAPI {
	addr, err := t.UnusedAddr()
	t.must(err)
	a := &statusAPI{
		addr: addr, fake: fakeapi.New(apiKey), latency: latency,
		tasks: make(map[string]task), asking: make(map[string]int),
		ended: make(chan struct{}), begun: make(chan struct{}),
	}
	a.fake.Default(a.answer)
	t.must(a.open(t.ctx))
	context.AfterFunc(t.ctx, a.close)
	return a
}

// environ makes a relay ask this API.
func (a *statusAPI) environ(more ...string) []string {
	return append([]string{"APIXO_API_KEY=" + apiKey, "APIXO_BASE_URL=http://" + a.addr}, more...)
}

// open lets the API be reached, as at first.
func (a *statusAPI) open(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: a, ErrorLog: log.New(io.Discard, "", 0)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.server = server
	go func() { _ = server.Serve(l) }() // until it is closed
	return nil
}

// close cuts all connections and closes the port.
func (a *statusAPI) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil {
		_ = a.server.Close()
		a.server = nil
	}
}

// know makes a task known.
func (a *statusAPI) know(id string, t task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.result == "" {
		t.result = rig.Webhook(id, "success", 0)
	}
	a.tasks[id] = t
}

// give lets everybody have the same answer, whatever the task, and nobody if it is nil.
func (a *statusAPI) give(trouble fakeapi.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trouble = trouble
	close(a.ended)
	a.ended = make(chan struct{})
}

// hang lets everybody wait until there is another trouble, or none; the connection is cut then.
func (a *statusAPI) hang() {
	a.give(func(w http.ResponseWriter, r *http.Request, id string) {
		a.mu.Lock()
		ended := a.ended
		a.mu.Unlock()
		fakeapi.Held(ended, fakeapi.Gone)(w, r, id)
	})
}

// ServeHTTP implements http.Handler.
func (a *statusAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("taskId")
	a.begin(id)
	defer a.end(id)
	select {
	case <-time.After(a.latency):
		a.fake.ServeHTTP(w, r)
	case <-r.Context().Done():
	}
}

func (a *statusAPI) begin(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.times = append(a.times, time.Now())
	if a.asking[id]++; a.asking[id] > 1 {
		a.overlap++
	}
	close(a.begun)
	a.begun = make(chan struct{})
}

func (a *statusAPI) end(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking[id]--
}

func (a *statusAPI) answer(w http.ResponseWriter, r *http.Request, id string) {
	a.mu.Lock()
	trouble := a.trouble
	t, known := a.tasks[id]
	a.mu.Unlock()
	switch {
	case trouble != nil:
		trouble(w, r, id)
	case !known && a.beside != "" && strings.HasPrefix(id, a.beside):
		fakeapi.Body(http.StatusOK, rig.Webhook(id, "success", 0))(w, r, id)
	case !known:
		fakeapi.Error(http.StatusNotFound, "Task not found")(w, r, id)
	case time.Now().Before(t.ends):
		fakeapi.State("processing")(w, r, id)
	default:
		if t.asked != nil {
			t.asked()
		}
		fakeapi.Body(http.StatusOK, t.result)(w, r, id)
	}
}

// ends says when a task does.
func (a *statusAPI) ends(id string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tasks[id].ends
}

// requests is how many there have been.
func (a *statusAPI) requests() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.times)
}

// overlaps is how many requests began while another was under way for the same task.
func (a *statusAPI) overlaps() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.overlap
}

// awaitRequests waits until so many more have begun.
func (t *trial) awaitRequests(a *statusAPI, n int) {
	want := a.requests() + n
	for {
		a.mu.Lock()
		got, begun := len(a.times), a.begun
		a.mu.Unlock()
		if got >= want {
			return
		}
		select {
		case <-begun:
		case <-t.ctx.Done():
			t.must(context.Cause(t.ctx))
		}
	}
}

// busiest is the largest number of requests that began within such a time.
func (a *statusAPI) busiest(window time.Duration) (most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	times := slices.SortedFunc(slices.Values(a.times), time.Time.Compare)
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) > window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// keepsRate checks that no more requests were begun within a second than are allowed, and
// tells how many that were at the most.
func (t *trial) keepsRate(a *statusAPI, perSecond int) {
	most := a.busiest(time.Second)
	t.note("%d requests within a second at the most", most)
	// Those that were held up on their way come with the next ones.
	window := time.Second + t.stalls.most() + t.duration(time.Second, 250*time.Millisecond)
	if allowed := int(float64(perSecond)*window.Seconds()) + 1; most > allowed {
		t.fail("%d requests were begun within a second, in spite of RELAY_API_RATE=%d/s", most, perSecond)
	}
}
