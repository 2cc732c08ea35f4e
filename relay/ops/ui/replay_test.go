package ui

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay"
	"github.com/apixo-relay/apixo-relay/schema"
)

const secret = "hunter2-0123456789abcdef"

// receiver takes what is posted to it, once it is let.
type receiver struct {
	*httptest.Server
	t    testing.TB
	gate chan struct{} // each request takes one from it; closed, all of them pass
	// arrived counts requests, those that wait at the gate too.
	arrived atomic.Int64

	mu     sync.Mutex
	bodies []string
	status int
}

func newReceiver(t testing.TB, status int) *receiver {
	t.Helper()
	r := &receiver{t: t, gate: make(chan struct{}), status: status}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.arrived.Add(1)
		<-r.gate
		r.mu.Lock()
		defer r.mu.Unlock()
		r.bodies = append(r.bodies, req.URL.RequestURI()+" "+req.Header.Get("Content-Type")+" "+string(body))
		w.WriteHeader(r.status)
	}))
	t.Cleanup(func() {
		r.open()
		r.Close()
	})
	return r
}

var opening sync.Mutex

// open lets everything pass.
func (r *receiver) open() {
	opening.Lock()
	defer opening.Unlock()
	select {
	case <-r.gate:
	default:
		close(r.gate)
	}
}

func (r *receiver) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bodies)
}

// has wants all to have arrived that are before the sequence from which to resume.
func (r *receiver) has(resume string) {
	r.t.Helper()
	n, err := strconv.Atoi(resume)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range n - 1 {
		if !slices.ContainsFunc(r.received(), func(got string) bool { return strings.Contains(got, fmt.Sprintf("%q", id(i))) }) {
			r.t.Errorf("%s has not arrived, and is before %d", id(i), n)
		}
	}
}

// job is the replay that the page shows.
func (p *site) job() *document { return p.view("replay", "/replay").one("section#job") }

// ended waits for the end of a replay, and returns what is shown of it.
func (p *site) ended() *document {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patienceOfTests)
	defer cancel()
	p.jobs.wait(ctx)
	d := p.job()
	d.none("form#stop")
	return d
}

// start starts what the form of replays asks for, which must be taken.
func (p *site) start(fields ...string) {
	p.t.Helper()
	if got := p.post("/replay", fields...); got.StatusCode != http.StatusSeeOther || !strings.HasPrefix(got.Header.Get("Location"), "/replay") {
		p.t.Fatalf("a replay is answered with %d:\n%s", got.StatusCode, documentOf(p.t, got).one("main").text())
	}
}

// A preview delivers nothing, and says what would be; a start delivers that.
func TestReplay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 30)
	r := newReceiver(t, 200)
	r.open()
	p := s.site(t, "RELAY_UI_TARGETS=hook=http://user:"+secret+"@"+strings.TrimPrefix(r.URL, "http://")+"/hook/"+secret+"?key="+secret+",again=nats:replayed.tasks")
	if got := p.view("replay", "/replay").texts("select#target option"); !slices.Equal(got, []string{"hook", "again"}) {
		t.Errorf("the targets are %q", got)
	}
	selection := []string{"from-seq", "1", "state", "failed", "model", "model-1", "target", "hook", "mode", "binary", "rate", "1000/s"}
	p.start(append(selection, "action", "preview")...)
	d := p.ended()
	d.one("h2#job-state").says("What would be delivered")
	d.one("pre#summary").says("to deliver 5; this was a dry run")
	d.one("pre#command").says("apixo-relay replay --from-seq 1 --state failed --model model-1 --mode binary --rate 1000/s --dry-run --to env:HOOK_URL")
	if len(r.received()) != 0 {
		t.Fatal("a preview has delivered something")
	}
	p.start(append(selection, "action", "start")...)
	d = p.ended()
	d.one("h2#job-state").says("The replay is done")
	d.one("pre#summary").says("delivered 5")
	d.one("pre#summary").says("resume --from-seq 31")
	if got := r.received(); len(got) != 5 || !strings.HasPrefix(got[0], "/hook/"+secret+"?key="+secret+" application/json {") {
		t.Errorf("delivered is %q", got)
	}
	// The form is kept.
	back := p.view("replay", p.post("/replay", append(selection, "action", "preview")...).Header.Get("Location"))
	for name, want := range map[string]string{"from-seq": "1", "model": "model-1", "rate": "1000/s"} {
		if got := back.one("form#replay input[name=" + name + "]").attr("value"); got != want {
			t.Errorf("the field %s has %q", name, got)
		}
	}
	if got := back.texts("form#replay option[selected]"); !slices.Equal(got, []string{"hook", "failed", "binary"}) {
		t.Errorf("chosen is %q", got)
	}

	// To a subject, where a stream takes it.
	target, err := s.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"replayed.>"}})
	if err != nil {
		t.Fatal(err)
	}
	p.start("from-seq", "1", "target", "again", "action", "start")
	p.ended().one("pre#command").says("--to nats:replayed.tasks")
	if info, err := target.Info(t.Context()); err != nil || info.State.Msgs != 30 {
		t.Errorf("in the other stream there are %d, %v", info.State.Msgs, err)
	}
	p.keepsSecrets("/replay", "/", "/events", "/checks")
}

// keepsSecrets wants a secret of a target in no view and in no line of the log.
func (p *site) keepsSecrets(paths ...string) {
	p.t.Helper()
	for _, path := range paths {
		if strings.Contains(p.get(path).body, "hunter2") {
			p.t.Errorf("%s has a secret in it", path)
		}
	}
	if strings.Contains(p.log.String(), "hunter2") {
		p.t.Errorf("a secret is in the log:\n%s", p.log)
	}
}

// What fails is listed without secrets, whether an answer refuses it or there is none.
func TestReplayFails(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 30)
	r := newReceiver(t, 410)
	r.open()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	hidden := func(u string) string {
		return "http://user:" + secret + "@" + strings.TrimPrefix(u, "http://") + "/" + secret + "?" + secret
	}
	p := s.site(t, "RELAY_UI_TARGETS=gone="+hidden(r.URL)+",closed="+hidden(closed.URL)+",nowhere="+hidden("http://name.invalid"))
	p.start("from-seq", "1", "target", "gone", "action", "start")
	d := p.ended()
	d.one("h2#job-state").says("with failures")
	if n := len(d.all("ul#failures li")); n != maxFailuresShown {
		t.Errorf("%d failures are shown", n)
	}
	d.says("and 10 before these")
	d.one("ul#failures").says("410")
	for _, target := range []string{"closed", "nowhere"} {
		p.start("from-seq", "1", "to-seq", "1", "target", target, "action", "start")
		if got := p.post("/replay/stop"); got.StatusCode != http.StatusSeeOther {
			t.Errorf("stopping: %d", got.StatusCode)
		}
		p.ended()
	}
	p.keepsSecrets("/replay", "/")
}

// There is one replay at a time. It goes on while nobody looks, and is stopped by a click.
func TestReplayIsOneAtATime(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 200)
	r := newReceiver(t, 200)
	p := s.site(t, "RELAY_UI_TARGETS=hook="+r.URL+",again=nats:replayed.tasks")
	p.start("from-seq", "1", "target", "hook", "action", "start")
	p.client.CloseIdleConnections()
	for range 10 {
		r.gate <- struct{}{}
	}
	live := p.stream("/live?view=replay&boot="+p.boot, "")
	live.until("the progress", func(m told) bool { return strings.Contains(m.update.Replace["job"], "10 delivered") })
	d := p.job()
	d.one("h2#job-state").says("A replay is under way")
	d.one("progress")
	for _, action := range []string{"preview", "start"} {
		got := p.post("/replay", "since", "2h", "target", "again", "action", action)
		refused := got.view(t, http.StatusConflict, "replay")
		refused.one("[role=alert]").says("one at a time")
		if refused.one("input[name=since]").attr("value") != "2h" {
			t.Error("the form is not kept")
		}
	}
	rejected := s.conflict(t, failed(id(1), "X"), "it tells failed")
	p.post("/quarantine/send", "seq", digits(rejected)).refused(t, http.StatusConflict, "one at a time")

	stopped := make(chan answer)
	go func() { stopped <- p.submit(d, "form#stop") }()
	// What is under way ends.
	r.open()
	if got := <-stopped; got.StatusCode != http.StatusSeeOther {
		t.Errorf("stopping: %d", got.StatusCode)
	}
	d = p.ended()
	delivered := len(r.received())
	if delivered >= 200 {
		t.Skip("it was over before it was stopped")
	}
	d.one("h2#job-state").says("The replay was stopped")
	d.one("pre#summary").says(fmt.Sprintf("delivered %d", delivered))
	_, resume, _ := strings.Cut(d.one("pre#summary").text(), "resume --from-seq ")
	r.has(resume)
	p.start("since", "1h", "target", "hook", "action", "preview")
}

// The end of Serve stops a replay in order, and its log says from where to resume.
func TestServeEndsDuringReplay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 200)
	r := newReceiver(t, 200)
	p := s.site(t, "RELAY_UI_TARGETS=hook="+r.URL)
	p.start("from-seq", "1", "target", "hook", "action", "start")
	for range 10 {
		r.gate <- struct{}{}
	}
	p.eventually("a delivery is under way", func() bool { return r.arrived.Load() > 10 })
	ended := make(chan error)
	go func() { ended <- p.end() }()
	p.eventually("nothing more can be begun", func() bool {
		p.jobs.mu.Lock()
		defer p.jobs.mu.Unlock()
		return p.jobs.closed
	})
	for range 20 {
		p.job().one("h2#job-state").says("under way") // and the page is still there to say so
	}
	r.open()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	delivered := len(r.received())
	_, resume, ok := strings.Cut(p.log.String(), fmt.Sprintf(`"delivered":%d,"failed":0,"skipped":0,"resumeSequence":`, delivered))
	if !ok || delivered >= 200 {
		t.Fatalf("the log does not say that %d were delivered", delivered)
	}
	resume, _, _ = strings.Cut(resume, ",")
	r.has(resume)
	p.eventually("no consumer is left in the broker", func() bool { return s.consumers(t) == 0 })
}

// Nothing is replayed but to the targets, nor into the relay's own endpoint or streams, and what
// is entered wrongly is kept to be mended.
func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 3)
	reached := newReceiver(t, 200)
	reached.open()
	p := s.site(t, "RELAY_WEBHOOK_TOKENS="+secret, "RELAY_UI_TARGETS=hook="+reached.URL+",own="+reached.URL+"/webhook/apixo/"+secret+",plain="+reached.URL+"/webhook/apixo,into=nats:apixo.task.success,kept=nats:apixo.quarantine.rejected,star=nats:a.*,taken=nats:other.x")
	stream, err := s.js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.Subjects = append(cfg.Subjects, "other.>")
	if _, err := s.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for name, fields := range map[string][]string{
		`"elsewhere" is no target`:         {"target", "elsewhere"},
		"is no target":                     {"target", ""},
		`is no target of`:                  {"target", reached.URL},
		"nats:other":                       {"target", "nats:other"},
		"relay's webhook endpoint":         {"target", "own"},
		"webhook endpoint":                 {"target", "plain"},
		"endpoint":                         {"target", "own", "mode", "binary"},
		"kept in the quarantine alone":     {"target", "own", "mode", "webhook"},
		"one of the relay's own subjects":  {"target", "into"},
		"apixo.quarantine.rejected is one": {"target", "kept"},
		"other.x":                          {"target", "taken"},
		"*":                                {"target", "star"},
		"leave it as configured":           {"target", "into", "mode", "binary"},
		"there is no mode":                 {"mode", "other"},
		"where to begin is missing":        {"from-seq", ""},
		"exclude each other":               {"since", "1h"},
		"From sequence":                    {"from-seq", "x"},
		"is before From":                   {"from-seq", "9", "to-seq", "8"},
		"Until":                            {"until", "x"},
		"Rate":                             {"rate", "fast"},
		"-1/s":                             {"rate", "-1/s"},
		"neither success nor failed":       {"state", "x"},
		"choose that, too":                 {"reason", "conflict"},
		"no state and no fail code":        {"quarantine", "1", "state", "failed"},
		"leave them out":                   {"quarantine", "1", "fail-code", "X"},
		"neither preview nor start":        {"action", "x"},
	} {
		for _, action := range []string{"preview", "start"} {
			all := []string{"model", "kept-model"}
			for pair := range slices.Chunk([]string{"target", "hook", "from-seq", "1", "action", action}, 2) {
				if !slices.Contains(fields, pair[0]) {
					all = append(all, pair...)
				}
			}
			got := p.post("/replay", append(all, fields...)...)
			if got.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %d", name, got.StatusCode)
				continue
			}
			d := got.view(t, http.StatusBadRequest, "replay")
			d.one("form#replay [role=alert]").says(name)
			if got := d.one("input[name=model]").attr("value"); got != "kept-model" {
				t.Errorf("%s: the form has %q", name, got)
			}
		}
	}
	for _, fields := range [][]string{{}, {"seq", "x"}, {"seq", "99"}, {"reason", "conflict"}, {"to-seq", "9"}, {"reason", "", "to-seq", "9"}, {"reason", "conflict", "to-seq", "x"}} {
		p.post("/quarantine/send", fields...).view(t, http.StatusBadRequest, "error")
	}
	p.job().says("Nothing has been replayed")
	if got := reached.received(); len(got) != 0 {
		t.Errorf("delivered is %q", got)
	}
	without := s.site(t)
	without.view("replay", "/replay").none("form#replay")
	without.post("/replay", "target", "hook", "from-seq", "1", "action", "start").view(t, http.StatusBadRequest, "replay")
	p.keepsSecrets("/replay")
}

// startRelay runs a relay at the store's broker, and returns the settings by which it is found.
func (s *store) startRelay(t testing.TB, settings ...string) []string {
	t.Helper()
	settings = append(settings, "NATS_URL="+s.server.ClientURL(), "RELAY_DATA_DIR="+t.TempDir())
	cfg := load(t, append([]string{"RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0"}, settings...)...)
	r, err := relay.Start(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Stop(context.Background()) })
	return append(settings, "RELAY_LISTEN_ADDR="+r.Addr(), "RELAY_ADMIN_ADDR="+r.AdminAddr())
}

// A quarantine is put right: what the relay takes now is sent to it again, and put aside.
func TestSendAgain(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	settings := s.startRelay(t, "RELAY_WEBHOOK_TOKENS="+secret, "RELAY_CALLBACK_ATTRIBUTES=model,customer")
	// As by a relay that was told another content type.
	unread := func(body string) uint64 { return s.deliver(t, unreadable(body)) }
	one := unread(success("task_1"))
	two := unread(failed("task_2", "X"))
	three := unread("no JSON")
	other := s.webhook(t, `{"data":{"taskId":"task_4","state":"running"}}`)
	p := s.site(t, settings...)
	p.known(s)
	d := p.view("quarantined", quarantinePath(one))
	if got := p.submit(d, "form#send"); got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/replay" {
		t.Fatalf("sending one: %d, %v", got.StatusCode, got.Header)
	}
	p.ended().one("pre#summary").says("delivered 1")
	if got := p.view("task", "/tasks/task_1").fact("#attributes", "customer"); got != "4711" {
		t.Errorf("the attribute customer is %q", got)
	}
	p.view("quarantined", quarantinePath(three)).none("form#send")
	list := p.view("quarantine", "/quarantine?reason="+schema.ReasonContentType)
	late := unread(success("task_late"))
	if got := p.submit(list, "form#send-all"); got.StatusCode != http.StatusSeeOther {
		t.Fatalf("sending all: %d", got.StatusCode)
	}
	d = p.ended()
	d.one("pre#summary").says("delivered 2 (1 already stored there)")
	d.one("pre#summary").says("skipped 1")
	p.view("task", "/tasks/task_2")
	if p.view("task", "/tasks/task_late").text(); s.state(t, "APIXO").Msgs != 2 {
		t.Errorf("%d events are stored", s.state(t, "APIXO").Msgs)
	}
	// What the relay has taken is put aside, after a question.
	question := p.view("question", d.one("a#put-aside-delivered").attr("href"))
	question.one("h1").says("2")
	p.submit(question, "form#confirm").view(t, http.StatusOK, "aside").says("2 deleted")
	if got := p.rows("quarantine", "/quarantine"); !slices.Equal(got, []int{int(late), int(other), int(three)}) {
		t.Errorf("%v are left; %d and %d are to be gone", got, one, two)
	}
	p.job().none("a#put-aside-delivered")
	p.post("/quarantine/put-aside", "delivered", "1").view(t, http.StatusOK, "aside").says("0 deleted")
	p.keepsSecrets("/replay", quarantinePath(three))
}

// What another target than the relay has taken is not to be put aside as what the relay took.
func TestReplayOfQuarantineElsewhere(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.deliver(t, unreadable(success("task_1")))
	r := newReceiver(t, 200)
	r.open()
	if _, err := s.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"replayed.>"}}); err != nil {
		t.Fatal(err)
	}
	p := s.site(t, "RELAY_UI_TARGETS=again=nats:replayed.tasks,hook="+r.URL+"/hook")
	for _, target := range []string{"again", "hook"} {
		p.start("from-seq", "1", "quarantine", "1", "target", target, "action", "start")
		d := p.ended()
		d.one("pre#summary").says("delivered 1")
		d.none("a#put-aside-delivered")
		p.post("/quarantine/put-aside", "delivered", "1")
		if got := s.state(t, "APIXO_QUARANTINE").Msgs; got != 1 {
			t.Fatalf("%s: what was sent elsewhere is deleted", target)
		}
	}
}

// A webhook that the relay has taken and does not store is kept.
func TestSendAgainOfConflict(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := s.site(t, s.startRelay(t)...)
	s.webhook(t, success("task_1"))
	conflict := s.conflict(t, failed("task_1", "X"), "it tells failed")
	p.known(s)
	p.submit(p.view("quarantined", quarantinePath(conflict)), "form#send")
	d := p.ended()
	d.one("pre#summary").says("with another outcome")
	d.none("a#put-aside-delivered")
	p.post("/quarantine/put-aside", "delivered", "1")
	if got := s.state(t, "APIXO_QUARANTINE").Msgs; got == 0 {
		t.Error("the only copy of a webhook that contradicts an event is deleted")
	}
}

// Without a relay's own target webhooks go to the target that is called so.
func TestSendAgainToTarget(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	sequence := s.deliver(t, unreadable(success("task_1")))
	r := newReceiver(t, 200)
	r.open()
	p := s.site(t, "RELAY_UI_TARGETS=relay="+r.URL+"/webhook/apixo/"+secret+"?model=nano")
	p.post("/quarantine/send", "seq", digits(sequence))
	p.ended().one("pre#command").says("--to env:RELAY_URL")
	got := r.received()
	if len(got) != 1 {
		t.Fatalf("delivered is %q", got)
	}
	target, body, _ := strings.Cut(got[0], " ")
	u, err := url.Parse(target)
	if err != nil || u.Path != "/webhook/apixo/"+secret || u.Query().Get("model") != "nano" || u.Query().Get("customer") != "4711" || body != "application/json "+success("task_1") {
		if _, rest, _ := strings.Cut(body, "{"); !strings.HasPrefix(rest, `"code":200`) || err != nil || u.Query().Get("customer") != "4711" {
			t.Errorf("delivered is %q", got)
		}
	}
	p.keepsSecrets("/replay")
}
