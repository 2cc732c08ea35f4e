package check

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/semver"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/expected"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/jserr"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

// aboutJetStream are the checks that need JetStream's answers, and aboutBroker those
// that need a connection.
var (
	aboutJetStream = []string{Permissions, Stream, Quarantine, Expected, Retention, Window, Replicas, Payload, Clock}
	aboutBroker    = append([]string{Broker, Version, JetStream}, aboutJetStream...)
)

// broker looks at the broker and what is in it, and delivers something to the
// callback URL meanwhile.
func (x *runner) broker(ctx context.Context) (found, delivery checkList) {
	a := newRequester(x.cfg.Stream.Domain, x.timeout)
	conn, err := broker.ConnectOnce(ctx, x.cfg, "apixo-relay check", a.denied)
	if err != nil {
		problem, remedy := err.Error(), "correct the NATS_* variables"
		if away, ok := errors.AsType[*broker.ConnectError](err); ok {
			problem, remedy = away.Problem, away.Hint
		}
		found.fail(Broker, remedy, "%s", problem)
		found.skip("there is no connection to the broker", aboutBroker[1:]...)
		return found, x.delivery(ctx, nil, nil)
	}
	defer conn.Close()
	a.conn = conn
	began := time.Now()
	err = conn.FlushWithContext(ctx)
	kind := "the external broker"
	if x.cfg.UsesEmbedded() {
		kind = "the embedded broker of a running relay"
	}
	where := config.RedactURLs(conn.ConnectedUrl())
	if err != nil {
		found.fail(Broker, "look at its log, and at what is between", "%s at %s lets this command in, and says nothing more: %v", kind, where, err)
		found.skip("the broker says nothing", aboutBroker[1:]...)
		return found, x.delivery(ctx, nil, nil)
	}
	found.ok(Broker, "%s at %s answers within %s", kind, where, text.Duration(time.Since(began)))
	version(&found, conn)

	events, quarantine, bucket := x.streams(ctx, a)
	// The checks from here on are independent.
	var streams checkList
	var all sync.WaitGroup
	all.Go(func() { delivery = x.delivery(ctx, a, quarantine) })
	all.Go(func() { streams = x.jetStream(ctx, a, events, quarantine, bucket) })
	all.Wait()
	return append(found, streams...), delivery
}

// version tells whether the broker knows what is made use of. The relay itself asks for
// nothing that is new; commands read by named consumers (2.9), and by the time in what the
// broker says of a stream (2.10) its clock is judged.
func version(found *checkList, conn *nats.Conn) {
	const remedy = "use nats-server 2.10 or later"
	v := conn.ConnectedServerVersion()
	release := semver.MajorMinor("v" + strings.TrimPrefix(v, "v")) // empty if it is no version
	switch {
	case release == "":
		found.warn(Version, remedy, "the broker says that it is nats-server %q, which is no version", v)
	case semver.Compare(release, "v2.9") < 0:
		found.warn(Version, remedy, "nats-server %s takes webhooks, and lets no command read what is stored (tail, replay, backfill)", v)
	case semver.Compare(release, "v2.10") < 0:
		found.warn(Version, remedy, "nats-server %s does not tell its time, by which its clock is judged", v)
	default:
		found.ok(Version, "nats-server %s", v)
	}
}

// target is one of the relay's streams, as it is.
type target struct {
	name    string // of the check
	setting string // that says which subjects it has
	want    jetstream.StreamConfig
	info    *jetstream.StreamInfo // nil if it is not known
	err     error                 // why it is not
	skew    time.Duration         // of the broker's clock, with info
	slop    time.Duration         // by how much that may be wrong
	// unmakeable: it is not there, and this user may not make it.
	unmakeable bool
}

func (t *target) isMissing() bool { return errors.Is(t.err, jetstream.ErrStreamNotFound) }

// describe is the stream's name where something is said of what it is like.
func (t *target) describe() string {
	if t.isMissing() {
		return t.want.Name + ", once it is made,"
	}
	return t.want.Name
}

// streams asks for all; of the one of the bucket of announced tasks, which is nil where
// RELAY_EXPECT is off, only the name is wanted here.
func (x *runner) streams(ctx context.Context, a *requester) (events, quarantine, bucket *target) {
	wantEvents, wantQuarantine := publisher.DesiredStreams(x.cfg.Stream)
	const prefix = "RELAY_SUBJECT_PREFIX"
	events = &target{name: Stream, setting: prefix, want: wantEvents}
	quarantine = &target{name: Quarantine, setting: prefix, want: wantQuarantine}
	targets := []*target{events, quarantine}
	if x.cfg.Expect.Enabled {
		bucket = &target{name: Expected, setting: "RELAY_EXPECT_BUCKET", want: jetstream.StreamConfig{Name: expected.StreamName(x.cfg.Expect.Bucket)}}
		targets = append(targets, bucket)
	}
	var all sync.WaitGroup
	for _, t := range targets {
		all.Go(func() {
			var info jetstream.StreamInfo
			began, clock := time.Now(), x.Now()
			t.err = a.api(ctx, "STREAM.INFO."+t.want.Name, &info)
			if t.err != nil {
				return
			}
			took := time.Since(began)
			t.info, t.slop = &info, took/2
			t.skew = info.TimeStamp.Sub(clock.Add(took / 2))
		})
	}
	all.Wait()
	return events, quarantine, bucket
}

// jetStream tells what came of asking for the streams, and looks further.
func (x *runner) jetStream(ctx context.Context, a *requester, events, quarantine, bucket *target) (found checkList) {
	err := events.err
	if _, denied := isDenied(err); denied {
		err = quarantine.err
	}
	_, denied := isDenied(err)
	switch code := apiCode(err); {
	case denied:
		found.skip("this user may not ask for the streams", JetStream)
	case errors.Is(err, nats.ErrNoResponders), code == jetstream.JSErrCodeJetStreamNotEnabled, code == jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		problem, hint := jsapi.Absent(x.cfg.Stream.Domain)
		found.fail(JetStream, hint, "%s", problem)
		found.skip("there is no JetStream", aboutJetStream...)
		return found
	case code == jserr.ClusterNotAvail:
		found.fail(JetStream, "bring back the servers of the cluster that are away: most of them have to be there", "the broker's cluster has no leader for JetStream")
	case errors.Is(err, errSilent):
		found.fail(JetStream, "look at the servers of its cluster: most of them have to be there", "the broker did not answer about the stream within %s: it is stalled or without quorum", text.Duration(a.timeout))
	case err == nil, code == jetstream.JSErrCodeStreamNotFound:
		x.account(ctx, a, &found)
	default:
		found.fail(JetStream, "look at the broker's log", "the broker cannot tell about the stream %s: %v", events.want.Name, err)
	}
	x.permissions(ctx, a, &found, events, quarantine, bucket)
	both := []*target{events, quarantine}
	x.retention(&found, both)
	x.window(&found, both)
	x.replicas(&found, both, a.conn)
	x.payload(&found, both, a.conn.MaxPayload())
	x.archive(ctx, a, &found, events)
	x.clock(&found, both)
	return found
}

// fullShare is from which share of a limit on there is a warning, in percent.
const fullShare = 80

// account tells how much of its limits the account uses, where asking is allowed. The
// relay does not ask.
func (x *runner) account(ctx context.Context, a *requester, found *checkList) {
	var account jetstream.AccountInfo
	if a.api(ctx, "INFO", &account) != nil {
		found.ok(JetStream, "it answers, and does not tell this user how full the account is")
		return
	}
	limits, used := account.Limits, account.Store
	if tier, ok := account.Tiers["R"+strconv.Itoa(x.cfg.Stream.Replicas)]; ok {
		limits, used = tier.Limits, tier.Store
	}
	fact := "it answers, and stores " + size(used) + " for this account"
	if limits.MaxStore <= 0 {
		found.ok(JetStream, "%s", fact)
		return
	}
	share := used * 100 / uint64(limits.MaxStore)
	fact += " of " + size(limits.MaxStore) + " at the most (" + strconv.FormatUint(share, 10) + " %)"
	switch {
	case share >= 100:
		found.fail(JetStream, "raise the account's limit, or remove what is not needed: webhooks get 503", "%s", fact)
	case share >= fullShare:
		found.warn(JetStream, "raise the account's limit before it is reached: then webhooks get 503", "%s", fact)
	default:
		found.ok(JetStream, "%s", fact)
	}
}
