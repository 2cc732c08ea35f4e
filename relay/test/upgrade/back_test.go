//go:build system

package upgrade

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// Two things of v1.0.0 are nothing to programs of before it. relay/README.md names them.
func TestWhatCannotGoBack(t *testing.T) {
	t.Parallel()
	// An event that was deleted and is there anew has another message id, by which they do not
	// know it: a repeat is stored once more.
	t.Run("stored-anew", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.needsEarly()
		dir := b.TempDir()
		b.must(Unpack(archiveOf(Versions[1]), dir))
		m, err := ReadManifest(dir)
		b.must(err)
		s := &store{bench: b, Manifest: m, dir: dir}
		i := slices.IndexFunc(m.Webhooks, func(w Webhook) bool { return w.Status == 200 && s.cannotGoBack(w) })
		if i < 0 {
			b.Fatal("the archive has no such event")
		}
		relay, err := b.StartOtherRelay(b.ctx, b.before.file, append(Settings(), "RELAY_DATA_DIR="+dir+"/"+StoreFolder)...)
		b.must(err)
		again, duplicate, err := m.Webhooks[i].Post(b.ctx, relay.Sender)
		b.must(err)
		if duplicate || again.Sequence == m.Webhooks[i].Sequence {
			b.Errorf("%s knows the event, and answers %+v: relay/README.md says that it does not", b.before.name, again)
		}
		b.stop(relay)
	})
	// What waits in the outbox and was refused for its headers is an event to them.
	t.Run("refused-for-headers", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.needsEarly()
		o := openOutbox(b, Versions[1])
		b.must(o.server.Start(b.ctx))
		relay := o.start(b.before)
		b.must(relay.AwaitForwarded(b.ctx))
		b.must(withBroker(relay, func(js jetstream.JetStream) error {
			streams, err := ReadStreams(b.ctx, js)
			n := count(streams[eventStream], func(m Message) bool { return strings.Contains(string(m.Data), "waiting_text") })
			if n != 1 {
				b.Errorf("%s makes %d events of what was refused: relay/README.md says that it makes one", b.before.name, n)
			}
			return err
		}))
		b.stop(relay)
	})
}

// needsEarly skips a test that is about versions of before v1.0.0.
func (b *bench) needsEarly() {
	b.Helper()
	b.needsBefore()
	if b.before.early {
		return
	}
	file, err := built.BuildVersion(b.ctx, root, Versions[0].Revision, Versions[0].Name)
	b.must(err)
	b.before = program{file: file, name: Versions[0].Name, early: true}
}
