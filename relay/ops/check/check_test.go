package check_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// Beside a relay that is well, all is well, and nothing is changed by looking.
func TestAllIsWell(t *testing.T) {
	t.Parallel()
	_, environ := startRelay(t)
	for range 2 {
		r := look(t, environ...)
		wellFormed(t, r)
		only(t, r, check.Disk) // which may be nearly full where this is tested
		if !r.OK {
			t.Errorf("it is not OK:\n%s", printed(r))
		}
		expect(t, r, check.Stream, check.OK, "is empty")
		expect(t, r, check.Quarantine, check.OK, "is empty")
	}
}

// Before the first start there are no streams, and looking makes none.
func TestMissingStreams(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	for _, policy := range []string{"create", "update"} {
		r := look(t, "NATS_URL="+s.ClientURL(), "RELAY_STREAM_POLICY="+policy)
		wellFormed(t, r)
		only(t, r, check.Clock)
		expect(t, r, check.Stream, check.OK, "the relay makes it when it starts")
		expect(t, r, check.Quarantine, check.OK, "the relay makes it when it starts")
		expect(t, r, check.Clock, check.Skip, "")
	}
	r := look(t, "NATS_URL="+s.ClientURL(), "RELAY_STREAM_POLICY=require")
	wellFormed(t, r)
	expect(t, r, check.Stream, check.Fail, "make it with the subject apixo.task.>")
	expect(t, r, check.Quarantine, check.Fail, "make it with the subject apixo.quarantine.>")
	expect(t, r, check.Window, check.Skip, "")

	// What it will be like is known, too.
	r = look(t, "NATS_URL="+s.ClientURL(), "RELAY_DEDUPE_WINDOW=2m", "RELAY_STREAM_REPLICAS=3")
	expect(t, r, check.Window, check.Fail, "raise RELAY_DEDUPE_WINDOW")
	expect(t, r, check.Replicas, check.Fail, "lower RELAY_STREAM_REPLICAS to 1")

	js := natstest.JetStream(t, s.ClientURL())
	for name := range js.StreamNames(t.Context()).Name() {
		t.Errorf("there is a stream %s", name)
	}
	// Another stream that has the subject is in the way.
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ALL", Subjects: []string{"apixo.>"}}); err != nil {
		t.Fatal(err)
	}
	r = look(t, "NATS_URL="+s.ClientURL())
	expect(t, r, check.Stream, check.Fail, "another stream, ALL, takes apixo.task.success")
	if n := state(t, js, "ALL").LastSeq; n != 0 {
		t.Errorf("%d messages got into it", n)
	}
}

// A wrong configuration is told line by line, and so is what it keeps from being
// looked at.
func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	secret := "short-secret"
	r := through(t, "http://relay.example/webhook/apixo", "RELAY_MAX_IN_FLIGHT=0", "RELAY_DEDUPE_WINDOW=1", "RELAY_WEBHOOK_TOKENS="+secret)
	wellFormed(t, r)
	if n := len(named(r, check.Configuration)); n != 3 || r.Count(check.Fail) != 3 || r.OK {
		t.Errorf("%d lines about it in\n%s", n, printed(r))
	}
	expect(t, r, check.Configuration, check.Fail, `RELAY_MAX_IN_FLIGHT="0"`)
	expect(t, r, check.Configuration, check.Fail, "write it like 20s, 1h30m, 500ms, 7d or 1d12h")
	expect(t, r, check.Delivery, check.Skip, "the configuration has to be right first")
	if strings.Contains(printed(r), secret) {
		t.Errorf("the secret is told:\n%s", printed(r))
	}
}

func TestUnknownVariable(t *testing.T) {
	t.Parallel()
	s, _ := withStreams(t, nil)
	r := look(t, "NATS_URL="+s.ClientURL(), "RELAY_DEDUP_WINDOW=1h")
	wellFormed(t, r)
	only(t, r, check.Configuration)
	expect(t, r, check.Configuration, check.Warn, "RELAY_DEDUP_WINDOW means nothing")
	if !r.OK {
		t.Error("a warning is taken for a failure")
	}
}

// Both forms hold everything, and only the one for a terminal colors.
func TestForms(t *testing.T) {
	t.Parallel()
	r := check.Report{Checks: []check.Check{
		{Name: "broker", Status: check.OK, Fact: "it <answers>"},
		{Name: "window", Status: check.Warn, Fact: "it is \x1b[31mshort", Remedy: "raise it"},
		{Name: "disk", Status: check.Fail, Fact: "it is full", Remedy: "make room"},
		{Name: "clock", Status: check.Skip, Fact: "not looked at"},
	}}
	const want = `ok    broker  it <answers>
warn  window  it is �[31mshort
              → raise it
fail  disk    it is full
              → make room
skip  clock   not looked at

1 ok, 1 warning, 1 failed, 1 not looked at
`
	if got := printed(r); got != want {
		t.Errorf("got\n%s", got)
	}
	var b bytes.Buffer
	if err := r.WriteText(&b, true); err != nil || !strings.Contains(b.String(), "\x1b[31mfail\x1b[0m  disk") {
		t.Errorf("%v: %q", err, &b)
	}
	b.Reset()
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back check.Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || len(back.Checks) != 4 || back.Checks[1] != r.Checks[1] ||
		!strings.HasPrefix(b.String(), `{"ok":false,"checks":[{"name":"broker","status":"ok","fact":"it <answers>"},{"name"`) {
		t.Errorf("%v: %s", err, &b)
	}
}
