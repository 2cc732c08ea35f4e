package check_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// asRelay is a broker whose user for the relay has some permissions, with the relay's
// streams or without.
func asRelay(t *testing.T, permissions *server.Permissions, streams bool, environ ...string) check.Report {
	t.Helper()
	options := natstest.Options(t)
	options.Users = []*server.User{
		{Username: "relay", Password: "relay", Permissions: permissions},
		{Username: "admin", Password: "admin"},
	}
	s := natstest.Start(t, options)
	if streams {
		makeStreams(t, natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin")), nil)
	}
	return look(t, append([]string{"NATS_URL=" + s.ClientURL(), "NATS_USER=relay", "NATS_PASSWORD=relay"}, environ...)...)
}

// Of a user who is not the relay's nothing is said that is about the relay, and of one who only
// reads nothing is tried.
func TestOtherUsers(t *testing.T) {
	t.Parallel()
	reading := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"$JS.API.INFO", "$JS.API.STREAM.INFO.*"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_RELAY.>"}},
	}
	for _, tt := range []struct {
		name        string
		user        check.User
		permissions *server.Permissions
		status      check.Status
		text        string
		violations  int
	}{
		{"the relay's", check.AnyUser, nil, check.OK, "this user may do all that the relay does: ", 0},
		{"another one", check.AnyUser, reading, check.Warn, "may not publish to apixo.task.success: it is not the relay's", 1},
		{"one that reads", check.ReadingUser, reading, check.Skip, "'apixo-relay check' with the relay's environment", 0},
		{"the relay's, to read", check.ReadingUser, nil, check.Skip, "this user is to read and no more", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			options := natstest.Options(t)
			options.Users = []*server.User{{Username: "page", Password: "page", Permissions: tt.permissions}, {Username: "admin", Password: "admin"}}
			s := natstest.Start(t, options)
			violations := new(violations)
			s.SetLogger(violations, false, false)
			makeStreams(t, natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin")), nil)
			r := lookWith(t, check.Options{User: tt.user}, "NATS_URL="+s.ClientURL(), "NATS_USER=page", "NATS_PASSWORD=page")
			wellFormed(t, r)
			expect(t, r, check.Permissions, tt.status, tt.text)
			expect(t, r, check.Stream, check.OK, "APIXO takes apixo.task.>")
			expect(t, r, check.Quarantine, check.OK, "APIXO_QUARANTINE takes apixo.quarantine.>")
			if n := len(named(r, check.Permissions)); n != 1 || r.Count(check.Fail) > 0 {
				t.Errorf("%d lines about permissions in\n%s", n, printed(r))
			}
			if n := int(violations.n.Load()); n != tt.violations {
				t.Errorf("%d things were tried that are not allowed, %d expected", n, tt.violations)
			}
		})
	}
}

// violations counts those that a server logs.
type violations struct{ n atomic.Int64 }

func (v *violations) Errorf(format string, _ ...any) {
	if strings.Contains(format, "Violation") {
		v.n.Add(1)
	}
}
func (*violations) Noticef(string, ...any) {}
func (*violations) Warnf(string, ...any)   {}
func (*violations) Fatalf(string, ...any)  {}
func (*violations) Debugf(string, ...any)  {}
func (*violations) Tracef(string, ...any)  {}

func denying(subject string) *server.Permissions {
	return &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{subject}}}
}

// Each permission that is missing is named, and no other is.
func TestMissingPermission(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		subject string
		streams bool
		policy  string
		status  check.Status
	}{
		{"apixo.task.success", true, "create", check.Fail},
		{"apixo.task.failed", true, "create", check.Fail},
		{"apixo.quarantine.rejected", true, "create", check.Fail},
		{"apixo.quarantine.conflict", true, "create", check.Fail},
		{"$JS.API.STREAM.INFO.APIXO", true, "create", check.Fail},
		{"$JS.API.STREAM.INFO.APIXO_QUARANTINE", true, "create", check.Fail},
		{"$JS.API.STREAM.UPDATE.APIXO", true, "update", check.Fail},
		{"$JS.API.STREAM.UPDATE.APIXO_QUARANTINE", true, "update", check.Fail},
		{"$JS.API.STREAM.CREATE.APIXO", false, "create", check.Fail},
		{"$JS.API.STREAM.CREATE.APIXO_QUARANTINE", false, "update", check.Fail},
		{"apixo.task.success", false, "create", check.Fail},
		{"$JS.API.STREAM.MSG.GET.APIXO", true, "create", check.Warn},
	} {
		t.Run(tt.policy+" "+tt.subject, func(t *testing.T) {
			t.Parallel()
			r := asRelay(t, denying(tt.subject), tt.streams, "RELAY_STREAM_POLICY="+tt.policy)
			wellFormed(t, r)
			expect(t, r, check.Permissions, tt.status, "allow publishing to "+tt.subject+" in this user's permissions")
			if n := len(named(r, check.Permissions)); n != 1 {
				t.Errorf("%d lines about permissions in\n%s", n, printed(r))
			}
			// A stream that may not be looked at is not known.
			only(t, r, check.Permissions, check.Stream, check.Quarantine, check.Clock)
			if r.Count(check.Fail) > 1 {
				t.Errorf("more fails than that:\n%s", printed(r))
			}
		})
	}
}

// Who is not told of changes learns that, and nothing else.
func TestChangesAreNotTold(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{"APIXO", "APIXO_QUARANTINE"} {
		subject := "$JS.EVENT.ADVISORY.STREAM.*." + stream
		r := asRelay(t, &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{subject}}}, true)
		wellFormed(t, r)
		only(t, r, check.Permissions)
		expect(t, r, check.Permissions, check.Warn, "allow subscribing to "+subject+" in this user's permissions")
		if n := len(named(r, check.Permissions)); n != 1 {
			t.Errorf("%d lines about permissions in\n%s", n, printed(r))
		}
	}
}

// A stream that nobody may make is not spoken of as one to come.
func TestStreamThatNobodyMayMake(t *testing.T) {
	t.Parallel()
	r := asRelay(t, denying("$JS.API.STREAM.CREATE.*"), false, "RELAY_STREAM_POLICY=create")
	wellFormed(t, r)
	for _, name := range []string{check.Stream, check.Quarantine, check.Retention, check.Window, check.Replicas} {
		expect(t, r, name, check.Skip, "")
	}
}

// What the relay does not do is not asked for: exactly these are enough.
func TestLeastPermissions(t *testing.T) {
	t.Parallel()
	least := &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			"apixo.task.success", "apixo.task.failed", "apixo.quarantine.rejected", "apixo.quarantine.conflict",
			"$JS.API.STREAM.INFO.APIXO", "$JS.API.STREAM.INFO.APIXO_QUARANTINE", "$JS.API.STREAM.MSG.GET.APIXO",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{
			"_INBOX_RELAY.>", "$JS.EVENT.ADVISORY.STREAM.*.APIXO", "$JS.EVENT.ADVISORY.STREAM.*.APIXO_QUARANTINE",
		}},
	}
	r := asRelay(t, least, true)
	wellFormed(t, r)
	only(t, r)
}

func TestNothingIsPermitted(t *testing.T) {
	t.Parallel()
	r := asRelay(t, denying(">"), true)
	wellFormed(t, r)
	if n := len(named(r, check.Permissions)); n != 7 {
		t.Errorf("%d lines about permissions in\n%s", n, printed(r))
	}
	expect(t, r, check.JetStream, check.Skip, "")
	expect(t, r, check.Stream, check.Skip, "")
}

// Without the right to subscribe to its inbox no answer reaches the relay.
func TestRepliesAreNotPermitted(t *testing.T) {
	t.Parallel()
	began := time.Now()
	r := asRelay(t, &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"_INBOX_RELAY.>"}}}, true)
	// Nothing waits for answers that cannot come, which would take all of the 10 s.
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("it took %s", took)
	}
	wellFormed(t, r)
	expect(t, r, check.Permissions, check.Fail, "allow subscribing to _INBOX_RELAY.> ")
	expect(t, r, check.Stream, check.Skip, "")
}

// To look leaves nothing in a stream, nor in its memory of ids, whatever its subjects
// and however many servers keep it.
func TestNothingIsStored(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		replicas int
	}{{"one server", 1}, {"cluster", 3}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := ""
			if tt.replicas == 1 {
				url = natstest.Start(t, natstest.Options(t)).ClientURL()
			} else {
				url = startCluster(t, tt.replicas)[0].ClientURL()
			}
			js := natstest.JetStream(t, url)
			makeStreams(t, js, func(c *jetstream.StreamConfig) { c.Replicas = tt.replicas })
			if _, err := js.Publish(t.Context(), "apixo.task.success", []byte("{}"), jetstream.WithMsgID("task_1")); err != nil {
				t.Fatal(err)
			}
			before := state(t, js, "APIXO")
			for _, policy := range []string{"create", "update", "require"} {
				r := look(t, "NATS_URL="+url, "RELAY_STREAM_POLICY="+policy)
				// On a machine that has too much to do, three servers elect now and then.
				for late := time.Now().Add(2 * time.Minute); strings.Contains(printed(r), "has no leader") && time.Now().Before(late); {
					r = look(t, "NATS_URL="+url, "RELAY_STREAM_POLICY="+policy)
				}
				only(t, r, check.Replicas) // new ones may be behind for a moment
			}
			if after := state(t, js, "APIXO"); after.Msgs != 1 || after.LastSeq != 1 || after.Bytes != before.Bytes || after.NumDeleted != 0 {
				t.Errorf("%+v became %+v", before, after)
			}
			if after := state(t, js, "APIXO_QUARANTINE"); after.LastSeq != 0 {
				t.Errorf("the quarantine is %+v", after)
			}
			// An empty id is none: what is stored next is no duplicate of what was refused.
			ack, err := js.Publish(t.Context(), "apixo.task.success", nil)
			if err != nil || ack.Sequence != 2 || ack.Duplicate {
				t.Errorf("%+v, %v", ack, err)
			}
		})
	}
}
