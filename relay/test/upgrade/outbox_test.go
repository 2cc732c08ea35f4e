//go:build system

package upgrade

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// The outbox of each version is taken over by today's program, which forwards it.
func TestOutboxes(t *testing.T) {
	t.Parallel()
	for _, v := range Versions {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			o := openOutbox(newBench(t), v)
			o.wait(o.today)
			o.forward(o.today)
			o.forward(o.today)
		})
	}
}

// An earlier version takes over what today's program has put into an outbox, before and after
// the broker is there.
func TestOutboxesGoBack(t *testing.T) {
	t.Parallel()
	for _, v := range Versions {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.needsBefore()
			o := openOutbox(b, v)
			o.wait(o.today)
			o.wait(o.before)
			if o.before.early && slices.ContainsFunc(o.Waiting, refusedForHeaders) {
				o.forward(o.today) // see TestWhatCannotGoBack
			}
			o.forward(o.before)
			o.forward(o.today)
		})
	}
}

func refusedForHeaders(w Webhook) bool { return w.Status == 415 }

// outbox is a copy of an outbox that programs open one after the other.
type outbox struct {
	*bench
	*Manifest
	dir    string
	server *rig.Server // not started until the first forwards
	opened int
}

func openOutbox(b *bench, v Version) *outbox {
	b.Helper()
	o := &outbox{bench: b, dir: b.TempDir()}
	b.must(Unpack(archiveOf(v), o.dir))
	var err error
	o.Manifest, err = ReadManifest(o.dir)
	b.must(err)
	o.server, err = b.NewServer(rig.JetStream)
	b.must(err)
	return o
}

func (o *outbox) start(p program) *rig.Relay {
	o.Helper()
	o.opened++
	relay, err := o.StartOtherRelay(o.ctx, p.file, slices.Concat(Settings(), []string{
		"RELAY_DATA_DIR=" + filepath.Join(o.dir, OutboxFolder), "NATS_URL=" + o.server.URL(), "RELAY_OUTBOX=true", "RELAY_PUBLISH_TIMEOUT=" + awayTime,
	})...)
	o.must(err)
	return relay
}

// entries is how many the outbox has.
func (o *outbox) entries(relay *rig.Relay) int {
	o.Helper()
	n, err := relay.Metric(o.ctx, "apixo_relay_outbox_messages")
	o.must(err)
	return int(n)
}

// wait opens the outbox while the broker is away: repeats add nothing, and new webhooks do.
func (o *outbox) wait(p program) {
	o.Helper()
	relay := o.start(p)
	if n := o.entries(relay); n != len(o.Waiting) {
		o.Errorf("%s finds %d entries, and %d were left", p.name, n, len(o.Waiting))
	}
	for _, w := range o.Waiting {
		if p.early && refusedForHeaders(w) {
			continue
		}
		again, _, err := w.Post(o.ctx, relay.Sender)
		o.must(err)
		if again.Status != w.Status || again.Sequence != w.Sequence {
			o.Errorf("%s answers with %d and entry %d, and it was %d and %d: %.80s", p.name, again.Status, again.Sequence, w.Status, w.Sequence, w.Body)
		}
	}
	if n := o.entries(relay); n != len(o.Waiting) {
		o.Errorf("%s has %d entries after repeats, and %d before", p.name, n, len(o.Waiting))
	}
	prefix := fmt.Sprintf("waiting_%d_", o.opened)
	for _, w := range slices.Concat(tasks(prefix), refused(prefix)) {
		answered, duplicate, err := w.Post(o.ctx, relay.Sender)
		o.must(err)
		if answered.Stream == "" && p.early && refusedForHeaders(answered) {
			continue // which it does not keep
		}
		if answered.Stream == "" || duplicate {
			o.Errorf("%s answers a new webhook with %+v, duplicate %t", p.name, answered, duplicate)
		}
		o.Waiting = append(o.Waiting, answered)
	}
	if n := o.entries(relay); n != len(o.Waiting) {
		o.Errorf("%s has %d entries of %d", p.name, n, len(o.Waiting))
	}
	o.stop(relay)
}

// forward opens the outbox when the broker is there, which then has each webhook once, and
// nothing more after each is delivered again.
func (o *outbox) forward(p program) {
	o.Helper()
	if o.server.Process == nil {
		o.must(o.server.Start(o.ctx))
	}
	relay := o.start(p)
	o.must(relay.AwaitReady(o.ctx))
	o.must(relay.AwaitForwarded(o.ctx))
	o.arrived(p, "")
	for _, w := range o.Waiting {
		if p.early && refusedForHeaders(w) {
			continue
		}
		again, duplicate, err := w.Post(o.ctx, relay.Sender)
		o.must(err)
		if again.Status != w.Status || duplicate != (w.Status == 200) {
			o.Errorf("%s answers with %d, duplicate %t, and it was %d: %.80s", p.name, again.Status, duplicate, w.Status, w.Body)
		}
	}
	o.arrived(p, " after repeats")
	o.stop(relay)
}

// arrived checks that the broker has each webhook once, byte for byte where it became no event.
func (o *outbox) arrived(p program, when string) {
	o.Helper()
	stored, err := rig.Audit(o.ctx, o.server.URL(), eventStream)
	o.must(err)
	kept, err := rig.Quarantine(o.ctx, o.server.URL(), quarantineStream)
	o.must(err)
	events, others := 0, 0
	for _, w := range o.Waiting {
		if w.Status == 200 && !w.Conflict {
			events++
			continue
		}
		others++
		digest := rig.DigestOf(string(w.Body))
		if n := count(kept, func(k rig.Kept) bool { return k.Digest == digest }); n != 1 {
			o.Errorf("%s%s: %d times in the quarantine: %.80s", p.name, when, n, w.Body)
		}
	}
	if len(stored) != events || len(stored.Twice()) > 0 || len(kept) != others {
		o.Errorf("%s%s: %d events, %q twice, and %d kept; %d and %d were in the outbox", p.name, when, len(stored), stored.Twice(), len(kept), events, others)
	}
}

func count[T any](all []T, is func(T) bool) (n int) {
	for _, v := range all {
		if is(v) {
			n++
		}
	}
	return n
}
