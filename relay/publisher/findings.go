package publisher

import (
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// Aspect is what a [Finding] is about.
type Aspect string

// The aspects of a stream that the relay depends on.
const (
	AboutUse       Aspect = "use"       // whether the relay's messages get into it, and an acknowledgement out
	AboutSize      Aspect = "size"      // whether the largest message fits
	AboutWindow    Aspect = "window"    // how long it remembers ids
	AboutRetention Aspect = "retention" // whether what was acknowledged stays
	AboutReplicas  Aspect = "replicas"  // how many servers keep it
)

// Finding is something about an existing stream that is not as the relay needs it.
type Finding struct {
	About Aspect
	// Problem says what is wrong, as the rest of a sentence that begins with the
	// stream's name; Hint what to do.
	Problem, Hint string
	// Unfit: with such a stream the relay's promises cannot be kept at all, and it
	// does not start. Others weaken them.
	Unfit bool
	// Missing: what the relay sends does not get into the stream.
	Missing bool
}

// Inspect compares a stream with what the relay wants, and tells what is wrong with
// it: first what makes it unfit. maxMessage is the size of the largest message that
// the relay stores, and maxPayload that of the largest that the broker takes, in
// bytes.
func Inspect(info *jetstream.StreamInfo, want jetstream.StreamConfig, maxMessage, maxPayload int64) (findings []Finding) {
	return append(unfit(info.Config, want, maxMessage, maxPayload), weaknesses(info, want)...)
}

// unfit tells what about a stream makes it impossible to keep the relay's promises.
func unfit(got, want jetstream.StreamConfig, maxMessage, maxPayload int64) (findings []Finding) {
	add := func(about Aspect, problem, hint string) {
		findings = append(findings, Finding{About: about, Problem: problem, Hint: hint, Unfit: true})
	}
	if !slices.ContainsFunc(got.Subjects, func(filter string) bool { return subjectMatches(filter, want.Subjects[0]) }) {
		add(AboutUse, fmt.Sprintf("takes the subjects %q, which leaves %s out", got.Subjects, want.Subjects[0]),
			"add that subject to it, or choose another RELAY_STREAM, RELAY_QUARANTINE_STREAM or RELAY_SUBJECT_PREFIX")
		findings[0].Missing = true
	}
	if got.Sealed {
		add(AboutUse, "is sealed and takes no messages any more", "choose another stream name")
	}
	if got.NoAck {
		add(AboutUse, "is configured to acknowledge nothing (no_ack), so no 200 could ever be given", "set no_ack to false")
	}
	if got.MaxMsgSize > 0 && int64(got.MaxMsgSize) < maxMessage {
		add(AboutSize, fmt.Sprintf("takes messages of at most %d bytes, and an event can have %d", got.MaxMsgSize, maxMessage),
			"raise its max_msg_size or lower RELAY_MAX_BODY_BYTES")
	}
	if maxPayload < maxMessage {
		add(AboutSize, fmt.Sprintf("is on a broker that takes messages of at most %d bytes, and an event can have %d", maxPayload, maxMessage),
			"raise max_payload in the broker's configuration or lower RELAY_MAX_BODY_BYTES")
	}
	return findings
}

// weaknesses tells what about a stream weakens the relay's promises.
func weaknesses(info *jetstream.StreamInfo, want jetstream.StreamConfig) (findings []Finding) {
	got := info.Config
	add := func(about Aspect, problem, hint string) {
		findings = append(findings, Finding{About: about, Problem: problem, Hint: hint})
	}
	if got.Duplicates < config.SenderRetrySpan {
		add(AboutWindow, fmt.Sprintf("remembers ids for %s, and APIXO's last retry comes up to %s after the first try: repeats can be stored twice", got.Duplicates, config.SenderRetrySpan),
			"raise its duplicate window, for instance with RELAY_STREAM_POLICY=update")
	}
	if n := info.State.NumDeleted; n > 0 {
		// After a crash the broker itself passes over damaged records in silence.
		add(AboutRetention, fmt.Sprintf("has gaps: %d of the events from %d to %d are not there. Somebody has deleted them, or the store is damaged", n, info.State.FirstSeq, info.State.LastSeq),
			"if nobody did, look after the disk, and take them from a backup or from APIXO")
	}
	if got.Storage == jetstream.MemoryStorage {
		add(AboutRetention, "is kept in memory: what was acknowledged is gone when the broker restarts", "make it anew with file storage")
	}
	if got.PersistMode == jetstream.AsyncPersistMode {
		add(AboutRetention, "acknowledges before it writes (persist_mode async): a crash of the broker loses what was acknowledged", "make it anew without persist_mode")
	}
	if got.Discard == jetstream.DiscardOld && (got.MaxBytes > 0 || got.MaxMsgs > 0) {
		add(AboutRetention, "drops its oldest events when it is full", "set its discard policy to new, for instance with RELAY_STREAM_POLICY=update")
	}
	if got.Retention != jetstream.LimitsPolicy {
		add(AboutRetention, "drops events that have been consumed (retention "+got.Retention.String()+"), so that they cannot be replayed", "make it anew with retention limits")
	}
	if got.Replicas < want.Replicas {
		add(AboutReplicas, fmt.Sprintf("has %d replicas, RELAY_STREAM_REPLICAS says %d", got.Replicas, want.Replicas), "set RELAY_STREAM_POLICY=update to change it")
	}
	return findings
}
