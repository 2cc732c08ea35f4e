package expected_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/service/servicetest"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// A task whose webhook does not come is asked for until it has ended, and its event is that of
// its webhook.
func TestRecovered(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.api.Set("task:1", fakeapi.State("pending"), fakeapi.Error(500, "oops"), fakeapi.Success)
	r := s.relay(t)
	kv := s.bucket(t)
	put(t, kv, schema.ExpectedKey("task:1"), `{"model":"nano-banana","attributes":{"user":"42","other":"x"}}`)
	awaitRemoved(t, kv, schema.ExpectedKey("task:1"))

	events := natstest.Events(t, s.js, "APIXO")
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	task, err := events[0].Task()
	e := events[0]
	if err != nil || e.ID != "task:1" || e.Type != schema.TypeTaskSuccess || e.Model() != "nano-banana" || e.Extensions["user"] != "42" || len(e.Extensions) != 2 || len(task.ResultURLs) != 1 {
		t.Errorf("%+v, %+v, %v", e, task, err)
	}
	stream, err := s.js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	if msg, err := stream.GetMsg(t.Context(), 1); err != nil || msg.Header.Get(schema.HeaderRecovered) != "reconciled" {
		t.Errorf("%+v, %v", msg, err)
	}
	if asked := s.api.Asked()["task:1"]; asked != 3 {
		t.Errorf("asked %d times", asked)
	}
	r.Forgotten(t)
	r.counts(t, map[string]float64{"recovered_total": 1, "missing_total": 0, "expected_tasks": 0, "expected_overdue": 0, `events_total{state="success"}`: 1})
}

// A task whose webhook comes is not asked for, before its announcement or after it.
func TestSettledByWebhook(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.relay(t)
	kv := s.bucket(t)
	r.Settled("before")
	put(t, kv, "before", `{"model":"m"}`)
	awaitRemoved(t, kv, "before")
	if expected, err := r.Announce(t.Context(), "before", schema.ExpectedTask{Model: "m"}); expected || err != nil {
		t.Errorf("a stored one is expected: %v, %v", expected, err)
	}

	if expected, err := r.Announce(t.Context(), "after", schema.ExpectedTask{Model: "m"}); !expected || err != nil {
		t.Fatal(expected, err)
	}
	r.Settled("after") // it may not have heard of the announcement yet
	awaitRemoved(t, kv, "after")
	if asked := s.api.Asked(); len(asked) > 0 {
		t.Errorf("asked for %v", asked)
	}
	r.Forgotten(t)
	r.counts(t, map[string]float64{"recovered_total": 0, "expected_tasks": 0})
}

// A webhook that comes while its task is asked for stays the one event.
func TestWebhookWhileAsking(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	asking, goOn := make(chan struct{}), make(chan struct{})
	s.api.Default(func(w http.ResponseWriter, r *http.Request, id string) {
		close(asking)
		<-goOn
		fakeapi.Success(w, r, id)
	})
	r := s.relay(t)
	kv := s.bucket(t)
	put(t, kv, "task_1", `{"model":"m"}`)
	<-asking
	if _, err := s.js.PublishMsg(t.Context(), taskEvent(t, "task_1")); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	awaitRemoved(t, kv, "task_1")
	if events := natstest.Events(t, s.js, "APIXO"); len(events) != 1 {
		t.Errorf("%d events", len(events))
	}
	r.counts(t, map[string]float64{"recovered_total": 0})
}

// What cannot be used is kept with its reason, and asked for nowhere.
func TestBadAnnouncements(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.relay(t)
	kv := s.bucket(t)
	for key, test := range map[string]struct{ value, reason string }{
		"no-json":  {`model: m`, schema.CodeSyntax},
		"empty":    {``, schema.CodeEmpty},
		"no-model": {`{"attributes":{}}`, schema.CodeMemberMissing},
		"path":     {`{"model":"../../x"}`, schema.CodeModel},
		"a/b":      {`{"model":"m"}`, schema.CodeTaskID},
		"twice":    {`{"model":"m","model":"n"}`, schema.CodeDuplicateMember},
	} {
		put(t, kv, key, test.value)
		awaitRemoved(t, kv, key)
		events := natstest.Events(t, s.js, "APIXO_QUARANTINE")
		e := events[len(events)-1]
		if e.Type != schema.TypeAnnouncementRejected || e.Subject != key || e.Reason() != test.reason || string(e.Data) != test.value {
			t.Errorf("%s: %+v", key, e)
		}
		r.log.Await(t, "reason="+test.reason)
	}
	if asked := s.api.Asked(); len(asked) > 0 {
		t.Errorf("asked for %v", asked)
	}
}

// A key can be written in other ways, and without a key-value client in ways that those do not
// take. Each task is one all the same.
func TestOtherKeys(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.relay(t)
	s.bucket(t)
	keys := []string{"raw:1", "small=3a1", "a=2Eb", "both=3A1", "both=3a1"}
	for _, key := range keys {
		if _, err := s.js.Publish(t.Context(), "$KV.APIXO_EXPECTED."+key, []byte(`{"model":"m"}`)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range append(keys, "raw=3A1", "small=3A1", "a.b") {
		r.Gone(t, "$KV.APIXO_EXPECTED."+key, s.js)
	}
	want := map[string]int{"raw:1": 1, "small:1": 1, "a.b": 1, "both:1": 1}
	if asked := s.api.Asked(); !maps.Equal(asked, want) {
		t.Errorf("asked for %v", asked)
	}
	if events := natstest.Events(t, s.js, "APIXO"); len(events) != len(want) {
		t.Errorf("%d events", len(events))
	}
	if events := natstest.Events(t, s.js, "APIXO_QUARANTINE"); len(events) > 0 {
		t.Errorf("%+v", events)
	}
}

// A task that is announced again and again is asked for all the same.
func TestAnnouncedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.api.Default(fakeapi.State("pending"))
	r := s.relay(t, "RELAY_EXPECT_AFTER=2s")
	kv := s.bucket(t)
	put(t, kv, "task_1", `{"model":"m"}`)
	r.Await(t, 1)
	for began := time.Now(); s.api.Asked()["task_1"] == 0; time.Sleep(100 * time.Millisecond) {
		put(t, kv, "task_1", `{"model":"m"}`)
		if time.Since(began) > time.Minute {
			t.Fatal("it is not asked for")
		}
	}
	put(t, kv, "task_1", `{"model":"other"}`)
	s.api.Default(fakeapi.Success)
	awaitRemoved(t, kv, "task_1")
	if e := natstest.Events(t, s.js, "APIXO")[0]; e.Model() != "other" {
		t.Errorf("%+v", e)
	}
}

// A task that the API knows again is not given up.
func TestKnownAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.api.Default(fakeapi.State("pending"))
	s.relay(t)
	kv := s.bucket(t)
	put(t, kv, "task_1", announced(t, schema.ExpectedTask{Model: "m", Announced: time.Now(), Asked: 2, Unknown: 2, Next: time.Now()}))
	await(t, kv, "task_1", func(e jetstream.KeyValueEntry) bool {
		task, err := schema.ParseExpectedTask(e.Value())
		return err == nil && task.Asked == 3 && task.LastAnswer == "pending" && task.Unknown == 0
	})
}

// An answer that is another task's for a strict reader is stored as nobody's.
func TestAnotherTasksResult(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.api.Default(fakeapi.Body(200, `{"code":200,"data":{"taskId":"task_2","state":"failed","TaskID":"%s"}}`))
	s.relay(t)
	kv := s.bucket(t)
	put(t, kv, "task_1", `{"model":"m"}`)
	await(t, kv, "task_1", func(e jetstream.KeyValueEntry) bool {
		task, err := schema.ParseExpectedTask(e.Value())
		return err == nil && task.LastAnswer == "the answer is about another task"
	})
	if events := natstest.Events(t, s.js, "APIXO"); len(events) > 0 {
		t.Errorf("%+v", events)
	}
}

// A task whose webhook comes while it waits for its turn is not asked for.
func TestWebhookBeforeItsTurn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.relay(t, "RELAY_API_RATE=40/m")
	kv := s.bucket(t)
	first := make(chan struct{}, 3)
	s.api.Default(func(w http.ResponseWriter, r *http.Request, id string) {
		first <- struct{}{}
		fakeapi.Success(w, r, id)
	})
	ids := []string{"task_1", "task_2", "task_3"}
	for _, id := range ids {
		put(t, kv, id, `{"model":"m"}`)
	}
	<-first
	var late []string
	for _, id := range ids {
		if s.api.Asked()[id] == 0 {
			late = append(late, id)
			r.Settled(id)
		}
	}
	for _, id := range ids {
		awaitRemoved(t, kv, id)
	}
	if len(late) != 2 || s.api.Asked()[late[0]]+s.api.Asked()[late[1]] > 0 {
		t.Errorf("%v were asked for: %v", late, s.api.Asked())
	}
}

// No announced task ends in silence.
func TestMissing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.api.Set("unknown", fakeapi.Error(404, "no such task"))
	s.api.Set("pending", fakeapi.State("processing"))
	s.api.Set("away", fakeapi.HTML(404))
	s.api.Set("late", fakeapi.Error(404, "no such task"), fakeapi.Error(404, "no such task"), fakeapi.Success)
	r := s.relay(t, "RELAY_EXPECT_GIVE_UP=6s")
	kv := s.bucket(t)
	began := time.Now().Add(-time.Second)
	for _, id := range []string{"unknown", "pending", "away", "late"} {
		put(t, kv, id, `{"model":"m","attributes":{"user":"42"}}`)
	}
	for _, id := range []string{"unknown", "pending", "away", "late"} {
		awaitRemoved(t, kv, id)
	}
	if events := natstest.Events(t, s.js, "APIXO"); len(events) != 1 || events[0].ID != "late" {
		t.Errorf("%+v", events)
	}
	reasons := map[string]string{}
	for _, e := range natstest.Events(t, s.js, "APIXO_QUARANTINE") {
		task, err := e.Missing()
		if err != nil || e.Subject != task.ID || e.Model() != "m" || e.Extensions["user"] != "42" || e.DataSchema != schema.MissingSchemaID || e.Detail() == "" ||
			task.Model != "m" || task.Announced.Before(began) || task.Asked != s.api.Asked()[task.ID] || task.LastAnswer == "" {
			t.Errorf("%+v, %v", e, err)
		}
		reasons[task.ID] = e.Reason()
		if task.ID == "unknown" && task.Asked != 3 {
			t.Errorf("asked %d times for an unknown one", task.Asked)
		}
	}
	if len(reasons) != 3 || reasons["unknown"] != schema.ReasonUnknownTask || reasons["pending"] != schema.ReasonNotFinal || reasons["away"] != schema.ReasonNotFinal {
		t.Error(reasons)
	}
	r.Forgotten(t)
	r.counts(t, map[string]float64{"recovered_total": 1, "missing_total": 3, "expected_tasks": 0})
}

// Relays that share a broker take turns: nobody asks for a task while another does, and each
// is stored and told once.
func TestTurns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var asking [20]atomic.Int32
	s.api.Default(func(w http.ResponseWriter, r *http.Request, id string) {
		i := id[len(id)-1] - 'a'
		if asking[i].Add(1) > 1 {
			t.Errorf("%s is asked for twice at the same time", id)
		}
		defer asking[i].Add(-1)
		if s.api.Asked()[id] < 3 {
			fakeapi.State("pending")(w, r, id)
			return
		}
		fakeapi.Success(w, r, id)
	})
	relays := []*relay{s.newRelay(t), s.newRelay(t), s.newRelay(t)}
	for _, r := range relays {
		r.LeaseFor(time.Minute) // which is nobody else's, however slow it is
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	kv := s.bucket(t)
	var ids []string
	for i := range len(asking) {
		id := "task_" + string(rune('a'+i))
		ids = append(ids, id)
		put(t, kv, id, `{"model":"m"}`)
	}
	for _, id := range ids {
		awaitRemoved(t, kv, id)
	}
	if events := natstest.Events(t, s.js, "APIXO"); len(events) != len(ids) {
		t.Errorf("%d events of %d tasks", len(events), len(ids))
	}
	for id, asked := range s.api.Asked() {
		if asked != 3 {
			t.Errorf("%s was asked for %d times", id, asked)
		}
	}
	for _, r := range relays {
		r.stop()
	}
}

// Where the bucket keeps the markers of removed keys, the relay removes them.
func TestMarkersAreForgotten(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	kv, err := s.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: schema.DefaultExpectedBucket})
	if err != nil {
		t.Fatal(err)
	}
	r := s.newRelay(t)
	r.ForgetAfter(500 * time.Millisecond)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		id := fmt.Sprint("task_", i)
		put(t, kv, id, `{"model":"m"}`)
		r.Settled(id)
	}
	for late := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		status, err := kv.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if status.Values() == 0 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("%d markers are left", status.Values())
		}
		r.Settled("another") // which is no news
	}
	r.counts(t, map[string]float64{"expect_errors_total": 0})
}

// Who is killed while it asks loses nothing: the claim that it leaves behind ends.
func TestClaimEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.newRelay(t)
	kv, err := s.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: schema.DefaultExpectedBucket})
	if err != nil {
		t.Fatal(err)
	}
	next := time.Now().Add(1500 * time.Millisecond)
	put(t, kv, "task_1", announced(t, schema.ExpectedTask{Model: "m", Announced: time.Now().Add(-time.Hour), Asked: 1, Next: next}))
	var at atomic.Pointer[time.Time]
	s.api.Default(func(w http.ResponseWriter, r *http.Request, id string) {
		at.Store(new(time.Now()))
		fakeapi.Success(w, r, id)
	})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitRemoved(t, kv, "task_1")
	if asked := at.Load(); asked == nil || asked.Before(next) {
		t.Errorf("asked at %v, while another held it until %v", asked, next)
	}
}

// Stopped while it asks, and started again, the relay goes on where it was.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	asking := make(chan struct{})
	s.api.Set("task_1", func(_ http.ResponseWriter, r *http.Request, _ string) {
		close(asking)
		<-r.Context().Done()
	}, fakeapi.Success)
	first := s.relay(t)
	kv := s.bucket(t)
	put(t, kv, "task_1", `{"model":"m"}`)
	<-asking
	first.stop()
	second := s.relay(t)
	awaitRemoved(t, kv, "task_1")
	if events := natstest.Events(t, s.js, "APIXO"); len(events) != 1 {
		t.Errorf("%d events", len(events))
	}
	second.counts(t, map[string]float64{"recovered_total": 1})
}

// A bucket that somebody deletes is made again, with the tasks that are known.
func TestBucketDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.relay(t, "RELAY_EXPECT_AFTER=2s")
	kv := s.bucket(t)
	for range 3 { // so that revisions are higher than those of the bucket that is made again
		put(t, kv, "task_1", `{"model":"m","attributes":{"user":"42"}}`)
	}
	if expected, err := r.Announce(t.Context(), "task_2", schema.ExpectedTask{Model: "m"}); !expected || err != nil {
		t.Fatal(expected, err)
	}
	r.Await(t, 2)
	if err := s.js.DeleteKeyValue(t.Context(), schema.DefaultExpectedBucket); err != nil {
		t.Fatal(err)
	}
	r.log.Await(t, "somebody has deleted the bucket")
	kv = s.bucket(t)
	awaitRemoved(t, kv, "task_1")
	awaitRemoved(t, kv, "task_2")
	if events := natstest.Events(t, s.js, "APIXO"); len(events) != 2 || events[0].Extensions["user"]+events[1].Extensions["user"] != "42" {
		t.Errorf("%+v", events)
	}
	if expected, err := r.Announce(t.Context(), "task_3", schema.ExpectedTask{Model: "m"}); !expected || err != nil {
		t.Error(expected, err)
	}
}

// Nobody is told that a bucket is purged, and what is gone is not asked for.
func TestBucketPurged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.relay(t)
	kv := s.bucket(t)
	put(t, kv, "task_1", `{"model":"m"}`)
	r.Await(t, 1)
	stream, err := s.js.Stream(t.Context(), "KV_APIXO_EXPECTED")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Await(t, 0)
	put(t, kv, "task_3", `{"model":"m"}`)
	r.Await(t, 1)
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Settled("task_3") // whose key is not there any more
	r.Forgotten(t)
	if asked := s.api.Asked(); len(asked) > 0 {
		t.Errorf("asked for %v", asked)
	}
	put(t, kv, "task_2", `{"model":"m"}`)
	awaitRemoved(t, kv, "task_2")
}

// What was announced here is known before the bucket tells of it.
func TestDeletedAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.relay(t)
	s.bucket(t)
	for i := range 20 {
		if expected, err := r.Announce(t.Context(), fmt.Sprint("task_", i), schema.ExpectedTask{Model: "m"}); !expected || err != nil {
			t.Fatal(expected, err)
		}
	}
	if err := s.js.DeleteKeyValue(t.Context(), schema.DefaultExpectedBucket); err != nil {
		t.Fatal(err)
	}
	r.log.Await(t, "somebody has deleted the bucket")
	kv := s.bucket(t)
	for i := range 20 {
		awaitRemoved(t, kv, fmt.Sprint("task_", i))
	}
	if events := natstest.Events(t, s.js, "APIXO"); len(events) != 20 {
		t.Errorf("%d events", len(events))
	}
}

// Without a bucket that somebody else is to make, announcements are refused with the reason,
// and taken when it is there.
func TestBucketRequired(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.relay(t) // which makes the streams
	s.bucket(t)
	first.stop()
	if err := s.js.DeleteKeyValue(t.Context(), schema.DefaultExpectedBucket); err != nil {
		t.Fatal(err)
	}
	r := s.relay(t, "RELAY_STREAM_POLICY=require")
	r.log.Await(t, "nats kv add APIXO_EXPECTED")
	if notes := r.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "nats kv add APIXO_EXPECTED") {
		t.Errorf("%q", notes)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := r.Announce(ctx, "task_1", schema.ExpectedTask{Model: "m"})
	if e, ok := errors.AsType[*store.Error](err); !ok || e.Code != store.StreamMissing {
		t.Error(err)
	}
	if _, err := s.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: schema.DefaultExpectedBucket, TTL: time.Hour, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	if expected, err := r.Announce(t.Context(), "task_1", schema.ExpectedTask{Model: "m"}); !expected || err != nil {
		t.Error(expected, err)
	}
	if notes := r.Notes(); len(notes) > 0 {
		t.Errorf("%q", notes)
	}
	r.log.Await(t, "forgets announced tasks after 1h0m0s")
	r.log.Await(t, "is kept in memory")
	awaitRemoved(t, s.bucket(t), "task_1")
}

// A bucket that is full refuses, and so does a register of too many tasks.
func TestFull(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := s.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: schema.DefaultExpectedBucket, MaxBytes: 4096}); err != nil {
		t.Fatal(err)
	}
	r := s.relay(t, "RELAY_EXPECT_AFTER=1h")
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = r.Announce(t.Context(), fmt.Sprint("task_", i), schema.ExpectedTask{Model: "m", Attributes: map[string]string{"user": "42", "other": strings.Repeat("x", 3000)}})
	}
	if e, ok := errors.AsType[*store.Error](err); !ok || e.Code != store.StreamFull || r.Outstanding() < 10 {
		t.Errorf("%v with %d tasks", err, r.Outstanding())
	}
	r.Fill()
	_, err = r.Announce(t.Context(), "one_more", schema.ExpectedTask{Model: "m"})
	if e, ok := errors.AsType[*store.Error](err); !ok || e.Code != store.RegisterFull {
		t.Error(err)
	}
}

// The policy update brings a bucket to what is wanted.
func TestBucketUpdated(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := s.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: schema.DefaultExpectedBucket, TTL: time.Hour, History: 5}); err != nil {
		t.Fatal(err)
	}
	r := s.relay(t, "RELAY_STREAM_POLICY=update")
	r.log.Await(t, "changed the bucket of announced tasks")
	status, err := s.bucket(t).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := status.Config(); c.TTL != 0 || c.History != 5 || c.LimitMarkerTTL != time.Hour {
		t.Errorf("%+v", c)
	}
}

// Who may not write to the bucket is told so, and at once.
func TestDenied(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.Users = []*server.User{
		{Username: "relay", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{"$KV.>"}}}},
		{Username: "admin", Password: "p"},
	}
	s := &site{nats: natstest.Start(t, options), api: fakeapi.New(key)}
	s.serve(t, nats.UserInfo("admin", "p"))
	r := s.relay(t, "NATS_USER=relay", "NATS_PASSWORD=p")
	_, err := r.Announce(t.Context(), "task_1", schema.ExpectedTask{Model: "m"})
	if e, ok := errors.AsType[*store.Error](err); !ok || e.Code != store.BrokerError || !strings.Contains(err.Error(), "$KV.APIXO_EXPECTED.>") {
		t.Error(err)
	}
	r.counts(t, map[string]float64{"expect_errors_total": 1})
}

// A wrong key leaves the tasks where they are.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.relay(t, "APIXO_API_KEY=sk-wrong-wrong")
	kv := s.bucket(t)
	put(t, kv, "task_1", `{"model":"m"}`)
	await(t, kv, "task_1", func(e jetstream.KeyValueEntry) bool {
		var task schema.ExpectedTask
		return json.Unmarshal(e.Value(), &task) == nil && strings.Contains(task.LastAnswer, "401 Unauthorized")
	})
	if err := r.client.Trouble(); err == nil || !strings.Contains(err.Error(), "does not take the key") || strings.Contains(err.Error(), "sk-wrong") {
		t.Error(err)
	}
	r.counts(t, map[string]float64{"expected_tasks": 1, "expected_overdue": 1, "missing_total": 0})
}

// A broker that is away is waited for, and what came before is not forgotten.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	s := &site{nats: natstest.Start(t, options), api: fakeapi.New(key)}
	s.serve(t)
	r := s.relay(t)
	kv := s.bucket(t)
	put(t, kv, "task_1", `{"model":"m"}`)
	put(t, kv, "task_2", `{"model":"m"}`)
	r.Await(t, 2)
	options.Port = s.nats.Addr().(*net.TCPAddr).Port
	natstest.Stop(s.nats)
	_, err := r.Announce(t.Context(), "task_3", schema.ExpectedTask{Model: "m"})
	if e, ok := errors.AsType[*store.Error](err); !ok || e.Code != store.BrokerUnavailable {
		t.Error(err)
	}
	r.Settled("task_2") // by an outbox
	s.nats = natstest.Start(t, options)
	awaitRemoved(t, kv, "task_1")
	awaitRemoved(t, kv, "task_2")
	if asked := s.api.Asked(); asked["task_1"] != 1 || asked["task_2"] != 0 {
		t.Errorf("asked for %v", asked)
	}
}

// The waits grow by half, and no further than five minutes.
func TestInterval(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var got []time.Duration
	r := s.newRelay(t, "RELAY_EXPECT_AFTER=1m")
	for asked := range 6 {
		got = append(got, r.Interval(asked))
	}
	want := []time.Duration{time.Minute, 90 * time.Second, 135 * time.Second, 202500 * time.Millisecond, 5 * time.Minute, 5 * time.Minute}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := s.newRelay(t, "RELAY_EXPECT_AFTER=10m").Interval(1000); got != 10*time.Minute {
		t.Errorf("%v", got)
	}
}

func TestService(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	servicetest.Stress(t, func(t *testing.T) service.Service { return s.newRelay(t).Reconciler })
}
