package check

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

// willBe is a stream as it is or, if it is missing, as the relay makes it; nil where
// neither is known.
func (x *runner) willBe(t *target) *jetstream.StreamInfo {
	if t.isMissing() && !t.unmakeable && x.cfg.Stream.Policy != config.PolicyRequire {
		return &jetstream.StreamInfo{Config: t.want}
	}
	return t.info
}

// validate is what the relay itself finds wrong with a stream of which something is
// known.
func (x *runner) validate(t *target) []publisher.Issue {
	// What the broker takes at all is not the stream's affair; see payload.
	most := broker.MaxMessageBytes(x.cfg.Webhooks.MaxBodyBytes)
	return publisher.ValidateStream(x.willBe(t), publisher.Requirements{Config: t.want, Given: x.cfg.Stream.Given, MaxMessage: most, MaxPayload: most})
}

// each tells what the relay finds wrong with the streams in one respect, and calls
// right for each with which nothing is. It reports whether anything is known.
func (x *runner) each(found *checkList, name string, category publisher.Category, streams []*target, right func(*target, *jetstream.StreamInfo)) {
	known := false
	for _, t := range streams {
		info := x.willBe(t)
		if info == nil {
			continue
		}
		known = true
		before := len(*found)
		for _, issue := range x.validate(t) {
			if issue.Category == category {
				found.add(name, statusOf(issue, info), x.remedy(t, issue), "the stream %s %s", t.describe(), issue.Problem)
			}
		}
		if len(*found) == before {
			right(t, info)
		}
	}
	if !known {
		found.skip("the broker does not tell about the streams", name)
	}
}

// statusOf is that of an issue. A window that is too short fails: who checks before
// anything has happened can still lengthen it.
func statusOf(issue publisher.Issue, info *jetstream.StreamInfo) Status {
	short := issue.Category == publisher.CategoryWindow && info.Config.Duplicates < config.SenderRetrySpan
	if issue.Severity >= publisher.SeverityRefuse || short {
		return Fail
	}
	return Warn
}

// remedy is what to do about an issue, by whose the stream is.
func (x *runner) remedy(t *target, issue publisher.Issue) string {
	update := x.cfg.Stream.Policy == config.PolicyUpdate
	switch {
	case issue.Category == publisher.CategoryWindow && (update || t.isMissing()) && t.want.Duplicates < config.SenderRetrySpan:
		return "raise RELAY_DEDUPE_WINDOW"
	case update && issue.Updatable:
		return "start the relay anew: with RELAY_STREAM_POLICY=update it changes the stream"
	}
	return issue.Hint
}

// retention tells whether what was acknowledged stays where it is.
func (x *runner) retention(found *checkList, streams []*target) {
	x.each(found, Retention, publisher.CategoryRetention, streams, func(t *target, info *jetstream.StreamInfo) {
		cfg, state := info.Config, info.State
		keeps := "for ever"
		if cfg.MaxAge > 0 {
			keeps = "for " + days(cfg.MaxAge)
		}
		fact := fmt.Sprintf("%s keeps everything %s", t.describe(), keeps)
		share, last := fullness(cfg, state)
		if share >= 0 {
			fact += fmt.Sprintf(", and is %d %% full", share)
		}
		most := broker.MaxMessageBytes(x.cfg.Webhooks.MaxBodyBytes)
		switch {
		case cfg.MaxBytes > 0 && cfg.MaxBytes < most:
			found.fail(Retention, "raise its max_bytes (RELAY_STREAM_MAX_BYTES with RELAY_STREAM_POLICY=update) to that of many events, or to -1", "the stream %s has room for %s bytes, and the largest event alone can have %s", cfg.Name, text.Count(cfg.MaxBytes), text.Count(most))
		case last:
			found.fail(Retention, "raise its limits (RELAY_STREAM_MAX_BYTES with RELAY_STREAM_POLICY=update): webhooks get 503", "%s: there is no room for another event", fact)
		case share >= fullShare:
			found.warn(Retention, "raise its limits before they are reached (RELAY_STREAM_MAX_BYTES with RELAY_STREAM_POLICY=update): then webhooks get 503", "%s", fact)
		default:
			found.ok(Retention, "%s", fact)
		}
	})
}

// fullness is the share of its limits that a stream has reached, in percent, or -1
// without limits; last says that another event like those that are there does not fit.
func fullness(cfg jetstream.StreamConfig, state jetstream.StreamState) (share int, last bool) {
	share = -1
	if cfg.MaxBytes > 0 {
		share = int(state.Bytes * 100 / uint64(cfg.MaxBytes))
		last = state.Msgs > 0 && state.Bytes+state.Bytes/state.Msgs > uint64(cfg.MaxBytes)
	}
	if cfg.MaxMsgs > 0 {
		share = max(share, int(state.Msgs*100/uint64(cfg.MaxMsgs)))
		last = last || state.Msgs >= uint64(cfg.MaxMsgs)
	}
	return share, last
}

// window holds the duplicate windows against the sender's schedule.
func (x *runner) window(found *checkList, streams []*target) {
	x.each(found, Window, publisher.CategoryWindow, streams, func(t *target, info *jetstream.StreamInfo) {
		found.ok(Window, "%s remembers ids for %s; APIXO's last retry comes up to %s after the first try", t.describe(), info.Config.Duplicates, config.SenderRetrySpan)
	})
}

// replicas tells on how many servers the streams are, and whether these are there.
func (x *runner) replicas(found *checkList, streams []*target, conn *nats.Conn) {
	cluster := conn.ConnectedClusterName()
	x.each(found, Replicas, publisher.CategoryReplicas, streams, func(t *target, info *jetstream.StreamInfo) {
		name, n := t.describe(), info.Config.Replicas
		away, behind := lagging(info.Cluster)
		const look = "look at that server, its disk and its way to the others"
		switch {
		case t.isMissing() && cluster == "" && n > 1:
			found.fail(Replicas, "lower RELAY_STREAM_REPLICAS to 1, or set NATS_URL to a cluster", "the stream %s has %d replicas, and the broker is a single server", name, n)
		case t.isMissing() && n > len(conn.Servers()):
			found.warn(Replicas, "see that the cluster "+cluster+" has as many servers, or lower RELAY_STREAM_REPLICAS", "the stream %s has %d replicas, and the broker tells of %d servers", name, n, len(conn.Servers()))
		case n > 1 && n-len(away) < n/2+1:
			found.fail(Replicas, "bring back the servers that are away", "the stream %s cannot store: of its %d replicas %s are away", name, n, strings.Join(away, ", "))
		case !t.isMissing() && n > 1 && (info.Cluster == nil || info.Cluster.Leader == ""):
			found.fail(Replicas, "look at the servers of its cluster: most of them have to be there", "the stream %s has no leader", name)
		case len(away) > 0:
			found.warn(Replicas, look, "of the %d replicas of the stream %s %s is away", n, name, strings.Join(away, ", "))
		case len(behind) > 0:
			found.warn(Replicas, look, "of the %d replicas of the stream %s %s is behind", n, name, strings.Join(behind, ", "))
		case n == 1 && x.cfg.Stream.Domain != "" && (info.Cluster == nil || info.Cluster.RaftGroup == ""):
			// What is connected to is a leaf node, and its cluster another one.
			found.ok(Replicas, "%s is on the one server that the domain %s has", name, x.cfg.Stream.Domain)
		case n == 1 && cluster != "":
			found.warn(Replicas, "set RELAY_STREAM_REPLICAS=3 and RELAY_STREAM_POLICY=update", "the stream %s is on one server of the cluster %s: without that server webhooks get 503, and without its disk the events are gone", name, cluster)
		case n == 1:
			found.ok(Replicas, "%s is on the one server that there is", name)
		default:
			found.ok(Replicas, "%s is on %d servers of the cluster %s", name, n, cluster)
		}
	})
}

// silentFor is after how long without a word a replica counts as away. They speak
// every second; the broker itself calls one offline after more than ten.
const silentFor = 3 * time.Second

// lagging are the replicas that are not there, and those that are not up to date.
func lagging(cluster *jetstream.ClusterInfo) (away, behind []string) {
	if cluster == nil {
		return nil, nil
	}
	for _, r := range cluster.Replicas {
		switch {
		case r.Offline, r.Active > silentFor:
			away = append(away, r.Name)
		case !r.Current:
			behind = append(behind, r.Name)
		}
	}
	return away, behind
}

// payload tells whether the event of the largest webhook fits.
func (x *runner) payload(found *checkList, streams []*target, maxPayload int64) {
	body := x.cfg.Webhooks.MaxBodyBytes
	most := broker.MaxMessageBytes(body)
	before := len(*found)
	if maxPayload < most {
		found.fail(Payload, "raise max_payload in the broker's configuration or lower RELAY_MAX_BODY_BYTES", "the broker takes messages of at most %s bytes, and an event can have %s (RELAY_MAX_BODY_BYTES=%d)", text.Count(maxPayload), text.Count(most), body)
	}
	if answer := jsapi.AnswerBytes(most); x.cfg.Stream.Domain != "" && maxPayload >= most && maxPayload < answer {
		found.warn(Payload, "raise max_payload of the leaf node or lower RELAY_MAX_BODY_BYTES", "the leaf node takes messages of at most %s bytes, and the broker's word about the largest event can have %s: each time that a repeat of it has to be compared, the leaf node would cut the link", text.Count(maxPayload), text.Count(answer))
	}
	var limits checkList
	x.each(&limits, Payload, publisher.CategorySize, streams, func(*target, *jetstream.StreamInfo) {})
	for _, l := range limits {
		if l.Status == Fail {
			*found = append(*found, l)
		}
	}
	if len(*found) == before {
		found.ok(Payload, "the broker takes messages of %s bytes, and the largest event has %s", text.Count(maxPayload), text.Count(most))
	}
}

const (
	// clockOff and clockWrong are by how much two clocks may differ before figures
	// are off, and before certificates and tokens are judged wrongly.
	clockOff   = 2 * time.Second
	clockWrong = time.Minute
)

// clock compares the broker's with this machine's.
func (x *runner) clock(found *checkList, streams []*target) {
	for _, t := range streams {
		if t.info == nil || t.info.TimeStamp.IsZero() {
			continue
		}
		off, side := t.skew.Abs(), "ahead of"
		if t.skew < 0 {
			side = "behind"
		}
		const sync = "let both machines synchronize their clocks (NTP)"
		switch {
		case off-t.slop > clockWrong:
			found.fail(Clock, sync, "the broker's clock is %s %s this machine's: certificates and tokens are judged wrongly, and events expire at the wrong time", off.Round(time.Second), side)
		case off-t.slop > clockOff:
			found.warn(Clock, sync, "the broker's clock is %s %s this machine's: figures such as apixo_relay_callback_lag_seconds are off by as much", off.Round(100*time.Millisecond), side)
		default:
			found.ok(Clock, "the broker's clock and this machine's differ by %s at the most", text.Duration(off+t.slop))
		}
		return
	}
	found.skip("the broker tells its time with a stream only, and there is none that it tells about", Clock)
}
