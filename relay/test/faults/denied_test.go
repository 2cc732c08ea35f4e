//go:build system

package faults

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// denying is a server's configuration in which the relay's user may not publish
// to some subjects.
func denying(subjects string) string {
	return rig.JetStream + fmt.Sprintf(`authorization { users: [
		{ user: admin, password: admin }
		{ user: relay, password: relay, permissions: { publish: { deny: [%s] } } }
	] }
`, subjects)
}

var (
	admin   = nats.UserInfo("admin", "admin")
	asRelay = []string{"NATS_USER=relay", "NATS_PASSWORD=relay"}
)

// A user who may not publish is refused by the broker at once, and so are the
// webhooks, until the broker lets him.
func TestMayNotPublish(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.serverWith(denying(`"apixo.task.success"`))
	r := b.relay(s.URL(), asRelay...)
	b.refused(r.Sender, "task_1", "broker-error", 2*time.Second)
	b.notReady(r, "apixo.task.success")
	b.logged(r, "publish to", "apixo.task.success")
	// The other subject is not denied.
	a, err := r.Post(b.ctx, "task_2", "failed")
	b.must(err)
	if a.Status != 200 {
		t.Errorf("what may be published got %+v", a)
	}
	b.must(s.Reload(b.ctx, denying(``)))
	if a := b.accepted(r.Sender, "task_1"); a.Duplicate {
		t.Errorf("the repeat got %+v", a)
	}
	b.ready(r)
}

// The same while running: the permission is taken away and given back.
func TestMayNotPublishAnyMore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.serverWith(denying(``))
	r := b.relay(s.URL(), asRelay...)
	b.accepted(r.Sender, "task_before")
	b.must(s.Reload(b.ctx, denying(`"apixo.task.>"`)))
	b.refused(r.Sender, "task_1", "broker-error", 2*time.Second)
	b.notReady(r, "apixo.task.success")
	b.must(s.Reload(b.ctx, denying(``)))
	if a := b.accepted(r.Sender, "task_1"); a.Duplicate {
		t.Errorf("the repeat got %+v", a)
	}
	b.ready(r)
}

// A relay that gets no webhooks while it is not ready notices all the same that
// the permission is there again.
func TestMayPublishAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.serverWith(denying(`"apixo.task.>"`))
	r := b.relay(s.URL(), asRelay...)
	b.refused(r.Sender, "task_1", "broker-error", 2*time.Second)
	b.notReady(r, "apixo.task.success")
	b.must(s.Reload(b.ctx, denying(``)))
	b.ready(r)
}

// A user who may neither look at streams nor make them can use those that others
// have made, and no others.
func TestMayNotUseTheStreamAPI(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.serverWith(denying(`"$JS.API.STREAM.>"`))
	r := b.relay(s.URL(), append(asRelay, "RELAY_PUBLISH_TIMEOUT=3s")...)
	a, err := r.Post(b.ctx, "task_1", "success")
	b.must(err)
	if a.Status != 503 || a.Took > 3*time.Second+spare {
		t.Errorf("the answer is %+v", a)
	}
	b.notReady(r, "APIXO")
	b.logged(r, "$JS.API.STREAM.INFO.APIXO")
	b.makeStreams(natstest.JetStream(t, s.URL(), admin), 1)
	if a := b.accepted(r.Sender, "task_1"); a.Duplicate {
		t.Errorf("the repeat got %+v", a)
	}
	b.must(s.Reload(b.ctx, denying(``)))
	b.ready(r)
}

// What to allow is said where an operator looks, and without waiting for a
// broker that has answered already.
func TestReadinessNamesTheDeniedAPI(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.serverWith(denying(`"$JS.API.STREAM.>"`))
	start := time.Now()
	r := b.relay(s.URL(), asRelay...)
	b.notReady(r, "$JS.API.STREAM.INFO.APIXO")
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("that took %s", took)
	}
}

// A broker without JetStream is waited for until it has it.
func TestJetStreamNotEnabled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.serverWith("")
	r := b.relay(s.URL(), "RELAY_PUBLISH_TIMEOUT=3s")
	a, err := r.Post(b.ctx, "task_1", "success")
	b.must(err)
	if a.Status != 503 || a.Took > 3*time.Second+spare {
		t.Errorf("the answer is %+v", a)
	}
	b.notReady(r, "start it with JetStream enabled")
	b.must(s.Reload(b.ctx, rig.JetStream))
	b.ready(r)
	if a := b.accepted(r.Sender, "task_1"); a.Duplicate {
		t.Errorf("the repeat got %+v", a)
	}
}

// A broker that has come to take smaller messages only refuses the larger ones,
// in time, and goes on with the others.
func TestMaxPayloadLowered(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL(), "RELAY_PUBLISH_TIMEOUT=10s")
	large := func(id string) rig.Answer {
		a, err := r.PostBody(b.ctx, rig.Webhook(id, "success", 200_000))
		b.must(err)
		return a
	}
	if a := large("task_before"); a.Status != 200 {
		t.Fatalf("within the limit: %+v", a)
	}
	b.must(s.Reload(b.ctx, rig.JetStream+"max_payload: 100000\n"))
	// The client learns of the new limit by going beyond it, and has to connect anew.
	if a := large("task_large"); a.Status != 503 || a.Took > 10*time.Second+spare {
		t.Errorf("the first beyond the limit got %+v", a)
	}
	b.notReady(r, "max_payload")
	b.isRefused(large("task_large"), "event-too-large", time.Second)
	b.accepted(r.Sender, "task_small")
	b.must(s.Reload(b.ctx, rig.JetStream))
	s.Kill()
	b.must(s.Start(b.ctx))
	b.ready(r)
	if a := large("task_large"); a.Status != 200 || a.Duplicate {
		t.Errorf("the repeat got %+v", a)
	}
	if stored := b.stored(s.URL()); len(stored) != 3 || len(stored.Twice()) > 0 {
		t.Errorf("stored %v", stored)
	}
}
