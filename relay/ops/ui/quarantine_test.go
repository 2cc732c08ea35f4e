package ui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/schema"
)

// reasons are those of the page, with their counts.
func (p *site) reasonsOf() []string {
	return p.view("quarantine", "/quarantine").texts("div#reasons a")
}

// Reasons are counted, and lead to pages of what there is of each.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := s.site(t)
	p.view("quarantine", "/quarantine").says("Nothing is quarantined")
	var syntax []int
	for i := range pageSize + 3 {
		syntax = append([]int{int(s.webhook(t, fmt.Sprint("no JSON ", i)))}, syntax...)
	}
	state := s.webhook(t, `{"data":{"taskId":"task_1","state":"running"}}`)
	conflict := s.conflict(t, success("task_2"), "it tells success")
	p.known(s)
	want := []string{"all", fmt.Sprintf("invalid-json %d", pageSize+3), "conflict 1", "not-final 1"}
	if got := p.reasonsOf(); !slices.Equal(got, want) {
		t.Errorf("the reasons are %q, want %q", got, want)
	}
	if got := p.rows("quarantine", "/quarantine?reason=invalid-json"); !slices.Equal(got, syntax) {
		t.Errorf("of one reason there are %v", got)
	}
	if got := p.rows("quarantine", "/quarantine"); !slices.Equal(got, append([]int{int(conflict), int(state)}, syntax...)) {
		t.Errorf("in all there are %v", got)
	}
	d := p.view("quarantine", "/quarantine")
	d.none("form#send-all")
	d.none("a#put-aside-all")
	d.one(fmt.Sprintf("tr[data-seq=%d]", state)).one("a[href=/tasks/task_1]")
	d = p.view("quarantine", "/quarantine?reason=conflict")
	if got := d.attrs("div#reasons a[aria-current=true]", "href"); !slices.Equal(got, []string{"/quarantine?reason=conflict"}) {
		t.Errorf("chosen is %q", got)
	}
	d.one("form#send-all")
	p.view("quarantine", "/quarantine?reason=none").none("form#send-all")
	p.get("/quarantine?before=x").view(t, http.StatusBadRequest, "quarantine")
	// The counts of an open page change.
	live := p.stream(d.one("body").attr("data-live"), "")
	s.conflict(t, failed("task_2", "X"), "it tells failed")
	live.until("the counts", func(m told) bool {
		return strings.Contains(m.update.Replace["reasons"], `conflict <span class="badge">2</span>`)
	})
}

// Foreign text is text: in lists, in the page of a message, and in what names files.
func TestQuarantineIsHostile(t *testing.T) {
	t.Parallel()
	const hostile = `</pre><script>alert(1)</script><img src=x onerror=alert(1)>"'&`
	s := newStore(t)
	body := `{"data":{"taskId":"` + strings.ReplaceAll(hostile, `"`, `\"`) + `","state":"success"}}`
	rejected := s.webhook(t, body, "customer", hostile)
	m := nats.NewMsg("apixo.quarantine.rejected")
	for name, value := range map[string]string{"ce-specversion": "1.0", "ce-id": hostile, "ce-source": "x", "ce-type": schema.TypeWebhookRejected, "ce-reason": hostile, "ce-detail": hostile, "ce-subject": hostile} {
		m.Header.Set(name, strings.NewReplacer("%", "%25", "\"", "%22", " ", "%20").Replace(value))
	}
	m.Data = []byte(hostile)
	ack, err := s.js.PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	p := s.site(t)
	p.known(s)
	paths := []string{"/quarantine", "/quarantine?reason=" + strings.ReplaceAll(strings.ReplaceAll(hostile, "&", "%26"), "/", "%2F"), quarantinePath(rejected), quarantinePath(ack.Sequence), "/", "/events?model=" + strings.ReplaceAll(hostile, "&", "%26"), "/tasks?id=%3Cscript%3E"}
	for _, path := range append(paths, p.view("quarantine", "/quarantine").attrs("div#reasons a", "href")...) {
		d := documentOf(t, p.get(strings.ReplaceAll(path, " ", "%20")))
		if n := len(d.all("script")); n != 1 {
			t.Errorf("%s has %d scripts", path, n)
		}
		d.none("[onerror]")
	}
	if got := p.view("quarantined", quarantinePath(ack.Sequence)).one("section#body pre").raw(); got != hostile {
		t.Errorf("the body is %q", got)
	}
	if got := p.get(quarantinePath(ack.Sequence) + "/body"); got.body != hostile || got.Header.Get("Content-Disposition") != fmt.Sprintf("attachment; filename=quarantined-%d.bin", ack.Sequence) {
		t.Errorf("the download is %q, %v", got.body, got.Header)
	}
}

// asideLines are what the log says of what was put aside.
func (p *site) asideLines() (lines []map[string]any) {
	p.t.Helper()
	for text := range strings.Lines(p.log.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			p.t.Fatal(err)
		}
		if msg, _ := line["msg"].(string); strings.HasPrefix(msg, "put aside") {
			lines = append(lines, line)
		}
	}
	return lines
}

// What is put aside is gone, and in the log, after a question: no GET deletes anything.
func TestPutAside(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	one := s.webhook(t, "no JSON 1", "customer", "4711")
	binary := s.webhook(t, "no \xff JSON")
	two := s.webhook(t, "no JSON 2")
	other := s.webhook(t, `{"data":{"taskId":"task_1","state":"running"}}`)
	p := s.site(t)
	p.known(s)
	d := p.view("quarantined", quarantinePath(one))
	question := p.view("question", d.one("a#put-aside").attr("href"))
	question.one("h1").says(fmt.Sprint("at sequence ", one))
	if got := question.attrs("main a", "href"); !slices.Equal(got, []string{quarantinePath(one)}) {
		t.Errorf("keeping it leads to %q", got)
	}
	list := p.view("quarantine", "/quarantine?reason=invalid-json")
	all := p.view("question", list.one("a#put-aside-all").attr("href"))
	late := s.webhook(t, "no JSON 3")
	for _, path := range []string{"/quarantine/put-aside?seq=1", "/quarantine/put-aside?reason=invalid-json&to-seq=9", "/quarantine/put-aside?delivered=1", "/quarantine/1?put-aside=1", "/quarantine/send?seq=1"} {
		p.get(path)
		p.do(p.request(http.MethodHead, path, nil))
	}
	if got := s.state(t, "APIXO_QUARANTINE").Msgs; got != 5 || len(p.asideLines()) != 0 {
		t.Fatalf("a GET has left %d messages", got)
	}

	p.submit(question, "form#confirm").view(t, http.StatusOK, "aside").says("One is deleted")
	lines := p.asideLines()
	if len(lines) != 1 {
		t.Fatalf("the log says %v", lines)
	}
	for name, want := range map[string]any{"sequence": float64(one), "stream": "APIXO_QUARANTINE", "reason": schema.CodeSyntax, "encoding": "text", "body": "no JSON 1", "level": "WARN"} {
		if got := lines[0][name]; got != want {
			t.Errorf("the log has %s %v, want %v", name, got, want)
		}
	}
	if attributes, _ := lines[0]["attributes"].(map[string]any); attributes["customer"] != "4711" {
		t.Errorf("the log has the attributes %v", lines[0]["attributes"])
	}
	p.get(quarantinePath(one)).view(t, http.StatusNotFound, "error")
	if got := p.reasonsOf(); !slices.Contains(got, "invalid-json 2") {
		t.Errorf("the reasons are %q", got)
	}

	// All of a reason are those that were there when it was asked for.
	p.submit(all, "form#confirm").view(t, http.StatusOK, "aside").says("One is deleted")
	if got := p.rows("quarantine", "/quarantine"); !slices.Equal(got, []int{int(late), int(other), int(binary)}) {
		t.Errorf("%v are left, of %d, %d, %d", got, late, other, binary)
	}
	_ = two
	p.post("/quarantine/put-aside", "reason", schema.CodeInvalidUTF8, "to-seq", digits(late)).view(t, http.StatusOK, "aside")
	if last := p.asideLines()[2]; last["encoding"] != "base64" || last["body"] != "bm8g/yBKU09O" {
		t.Errorf("the log has %v", last)
	}
	// Again, or what is not there, deletes nothing, and says so.
	p.post("/quarantine/put-aside", "seq", digits(one)).view(t, http.StatusOK, "aside").says("0 deleted")
	p.post("/quarantine/put-aside", "reason", "none", "to-seq", "99").view(t, http.StatusOK, "aside").says("0 deleted")
	for _, fields := range [][]string{{}, {"seq", "x"}, {"seq", "-1"}, {"reason", "invalid-json"}, {"to-seq", "9"}, {"seq", "0"}, {"reason", "", "to-seq", "9"}, {"reason", "x", "to-seq", "y"}} {
		p.post("/quarantine/put-aside", fields...).view(t, http.StatusBadRequest, "error")
	}
	if got := s.state(t, "APIXO_QUARANTINE").Msgs; got != 2 {
		t.Errorf("%d messages are left", got)
	}
}

// What is no CloudEvent can be put aside too, and is in the log as it came.
func TestPutAsideOfForeignMessage(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ack, err := s.js.Publish(t.Context(), "apixo.quarantine.rejected", []byte("somebody else's"))
	if err != nil {
		t.Fatal(err)
	}
	m := nats.NewMsg("apixo.quarantine.rejected")
	m.Header.Set("Content-Type", "application/cloudevents+json")
	m.Data = []byte("nor is this")
	if _, err := s.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	p := s.site(t)
	p.known(s)
	for i, body := range []string{"somebody else's", "nor is this"} {
		sequence := ack.Sequence + uint64(i)
		p.get(quarantinePath(sequence)).refused(t, http.StatusNotFound, "no CloudEvent")
		p.post("/quarantine/put-aside", "seq", digits(sequence)).view(t, http.StatusOK, "aside")
		if lines := p.asideLines(); len(lines) != i+1 || lines[i]["body"] != body {
			t.Errorf("the log has %v", lines)
		}
	}
}

// A user who may not delete is told so, at once, and nothing is deleted.
func TestPutAsideIsDenied(t *testing.T) {
	t.Parallel()
	s := newStore(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "all", Password: "all"},
			{Username: "some", Password: "some", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{"$JS.API.STREAM.MSG.DELETE.>"}}}},
		}
	})
	one := s.webhook(t, "no JSON 1")
	two := s.webhook(t, "no JSON 2")
	p := s.site(t, "NATS_USER=some", "NATS_PASSWORD=some")
	p.known(s)
	p.client.Timeout = putAsideTimeout / 2
	for _, fields := range [][]string{{"seq", digits(one)}, {"reason", schema.CodeSyntax, "to-seq", digits(two)}} {
		d := p.post("/quarantine/put-aside", fields...).view(t, http.StatusServiceUnavailable, "aside")
		d.says("0 deleted")
		d.says("the broker does not let this user publish to $JS.API.STREAM.MSG.DELETE.APIXO_QUARANTINE")
	}
	if got := s.state(t, "APIXO_QUARANTINE").Msgs; got != 2 {
		t.Errorf("%d messages are left", got)
	}
	p.log.Await(t, "it was not deleted after all")
}

// What the log does not have is not deleted.
func TestPutAsideNeedsTheLog(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	one := s.webhook(t, "no JSON")
	p := s.site(t)
	p.known(s)
	p.o.Audit = slog.New(slog.NewTextHandler(brokenWriter{}, nil))
	for _, fields := range [][]string{{"seq", digits(one)}, {"reason", schema.CodeSyntax, "to-seq", digits(one)}} {
		p.post("/quarantine/put-aside", fields...).view(t, http.StatusServiceUnavailable, "aside").says("is not deleted, since the log does not have it")
	}
	if got := s.state(t, "APIXO_QUARANTINE").Msgs; got != 1 {
		t.Errorf("%d messages are left", got)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

// With --read-only nothing that changes anything is offered, or done.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.webhook(t, success("task_1"))
	rejected := s.webhook(t, "no JSON")
	s.conflict(t, failed("task_1", "X"), "it tells failed")
	p := s.siteWith(t, true, "RELAY_UI_TARGETS=again=nats:replayed.tasks")
	p.known(s)
	aside := "/quarantine/put-aside?seq=" + digits(rejected)
	for _, path := range []string{"/", "/events", "/tasks/task_1", "/quarantine", "/quarantine?reason=conflict", "/quarantine?reason=invalid-json", quarantinePath(rejected), quarantinePath(rejected + 1), aside,
		"/quarantine/put-aside?reason=conflict&to-seq=9", "/quarantine/put-aside?delivered=1", "/replay", "/expected", "/checks"} {
		d := documentOf(t, p.get(path))
		d.none("form[method=post]")
		for _, link := range d.attrs("a", "href") {
			if strings.Contains(link, "put-aside") {
				t.Errorf("%s has the link %s", path, link)
			}
		}
	}
	for _, path := range []string{"/quarantine/put-aside", "/quarantine/send", "/replay", "/replay/stop", "/checks", "/", "/nothing", "/live", "/static/live.js"} {
		p.post(path, "seq", digits(rejected), "target", "again", "from-seq", "1", "action", "start").refused(t, http.StatusForbidden, "--read-only")
	}
	if got := s.state(t, "APIXO_QUARANTINE").Msgs; got != 2 {
		t.Errorf("%d messages are left", got)
	}
}

// A report is made once for all who look, and anew on demand; its head comes before it.
func TestChecks(t *testing.T) {
	t.Parallel()
	p := newStore(t).site(t)
	first := p.get("/checks")
	d := first.view(t, http.StatusOK, "checks")
	if first.ContentLength >= 0 {
		t.Error("the report is not written in two parts")
	}
	if n := len(d.all("table#report tr[data-status]")); n < 10 {
		t.Errorf("the report has %d rows", n)
	}
	for _, row := range d.all("table#report tr[data-status=fail]") {
		if !strings.Contains(row.text(), "What to do:") {
			t.Errorf("there is no remedy in %s", row.text())
		}
	}
	_, at, _ := p.report.get(t.Context(), time.Hour, nil)
	p.get("/checks")
	if _, again, _ := p.report.get(t.Context(), time.Hour, nil); again != at {
		t.Error("it is checked again for each who looks")
	}
	if got := p.submit(d, "form#again"); got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/checks" {
		t.Errorf("checking again leads to %d, %v", got.StatusCode, got.Header)
	}
	p.get("/checks")
	if _, again, _ := p.report.get(t.Context(), time.Hour, nil); again == at {
		t.Error("it is not checked again")
	}

	// What begins a page comes before the report.
	p.report.forget()
	release := make(chan struct{})
	begun := make(chan struct{})
	go p.report.get(t.Context(), 0, func(context.Context) report {
		close(begun)
		<-release
		return report{}
	})
	<-begun
	resp, err := p.client.Do(p.request(http.MethodGet, "/checks", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	head := make([]byte, 64<<10)
	n, err := resp.Body.Read(head)
	if err != nil || !strings.Contains(string(head[:n]), "<h1>Checks</h1>") || strings.Contains(string(head[:n]), "</html>") {
		t.Errorf("before the report there is %q, %v", head[:n], err)
	}
	close(release)
}
