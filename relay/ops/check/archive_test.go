package check_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// startArchiving makes the archive's consumer, and stores events of tasks.
func startArchiving(t *testing.T, js jetstream.JetStream, events int) jetstream.Consumer {
	t.Helper()
	c, err := js.CreateConsumer(t.Context(), "APIXO", jetstream.ConsumerConfig{
		Durable: "apixo-archive", FilterSubject: "apixo.task.success", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range events {
		for _, subject := range []string{"apixo.task.failed", "apixo.task.success"} {
			if _, err := js.Publish(t.Context(), subject, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}

func makeArchiveStream(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "APIXO_ARCHIVE", Subjects: []string{"apixo.archive.>"}}); err != nil {
		t.Fatal(err)
	}
}

// later is an environment at a time to come.
func later(t *testing.T, by time.Duration, environ ...string) check.Report {
	t.Helper()
	return lookWith(t, check.Options{Timeout: 10 * time.Second, Now: func() time.Time { return time.Now().Add(by) }}, environ...)
}

// How far behind the archive is decides; where none is used nothing is said.
func TestArchive(t *testing.T) {
	t.Parallel()
	s, js := withStreams(t, nil)
	url := "NATS_URL=" + s.ClientURL()
	if _, err := js.CreateConsumer(t.Context(), "APIXO", jetstream.ConsumerConfig{Durable: "a-service", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	r := look(t, url)
	wellFormed(t, r)
	if n := len(named(r, check.Archive)); n != 0 {
		t.Errorf("without an archive:\n%s", printed(r))
	}

	c := startArchiving(t, js, 3)
	makeArchiveStream(t, js)
	r = look(t, url)
	wellFormed(t, r)
	only(t, r)
	expect(t, r, check.Archive, check.OK, "3 events wait for the archive, which does not ask for them now; the oldest came 0s ago")
	expect(t, r, check.Archive, check.OK, "APIXO_ARCHIVE has told of files 0 times")
	expect(t, later(t, 11*time.Hour, url), check.Archive, check.OK, "the oldest came 11h0m")
	expect(t, later(t, 12*time.Hour+time.Minute, url), check.Archive, check.Warn, "the oldest came 12h1m")
	expect(t, later(t, 20*time.Hour+time.Minute, url), check.Archive, check.Fail, "see that 'apixo-relay archive' runs")

	// What is under way waits, too, and what is acknowledged does not.
	for range 3 {
		msg, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, look(t, url), check.Archive, check.OK, "; the oldest came 0s ago")
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, later(t, 21*time.Hour, url), check.Archive, check.OK, "the files of all results are archived")
}

func TestArchiveWithoutItsStream(t *testing.T) {
	t.Parallel()
	s, js := withStreams(t, nil)
	startArchiving(t, js, 1)
	r := look(t, "NATS_URL="+s.ClientURL())
	wellFormed(t, r)
	only(t, r, check.Archive)
	expect(t, r, check.Archive, check.OK, "1 event waits for the archive")
	expect(t, r, check.Archive, check.Warn, "there is no stream APIXO_ARCHIVE")
	expect(t, look(t, "NATS_URL="+s.ClientURL(), "RELAY_STREAM_POLICY=require"), check.Archive, check.Fail, "make it, with the subject apixo.archive.>")
}

// Whoever may not ask is told what to allow.
func TestArchiveWithoutPermission(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{"$JS.API.CONSUMER.INFO.APIXO.apixo-archive", "$JS.API.STREAM.INFO.APIXO_ARCHIVE"} {
		options := natstest.Options(t)
		options.Users = []*server.User{{Username: "relay", Password: "relay", Permissions: denying(subject)}, {Username: "admin", Password: "admin"}}
		s := natstest.Start(t, options)
		js := natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
		makeStreams(t, js, nil)
		startArchiving(t, js, 1)
		makeArchiveStream(t, js)
		r := look(t, "NATS_URL="+s.ClientURL(), "NATS_USER=relay", "NATS_PASSWORD=relay")
		wellFormed(t, r)
		only(t, r, check.Archive)
		expect(t, r, check.Archive, check.Skip, "allow publishing to "+subject)
	}
}
