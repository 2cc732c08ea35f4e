package publisher

import (
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
)

// rule judges one thing about a stream.
type rule struct {
	// fields are those of [jetstream.StreamConfig] that it looks at, first the one
	// that would have to be changed; none where it is not about the configuration.
	fields   []string
	category Category
	severity Severity
	missing  bool   // nothing gets into the stream
	key      string // of issues whose words change by themselves
	// judge returns what is wrong, or nothing, and what to do.
	judge func(info *jetstream.StreamInfo, needs Requirements) (problem, hint string)
}

// rules are all that is judged, first what makes a stream unfit. A 200 must mean
// that the event is in the stream, under its subject, and leaves it by age only.
var rules = slices.Concat(intakeRules, truthRules, weaknessRules, settingRules)

// intakeRules are about what keeps messages or acknowledgements from passing.
var intakeRules = []rule{
	{
		fields: []string{"Mirror"}, category: CategoryIntake, severity: SeverityFatal, missing: true,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if info.Config.Mirror == nil {
				return "", ""
			}
			return "is a mirror of the stream " + info.Config.Mirror.Name + ", to which nobody can publish", "choose another RELAY_STREAM or RELAY_QUARANTINE_STREAM"
		},
	},
	{
		fields: []string{"Subjects"}, category: CategoryIntake, severity: SeverityFatal, missing: true,
		judge: func(info *jetstream.StreamInfo, needs Requirements) (problem, hint string) {
			if info.Config.Mirror != nil || takes(info.Config, needs.Config.Subjects[0]) {
				return "", ""
			}
			return fmt.Sprintf("takes the subjects %q, which leaves %s out", info.Config.Subjects, needs.Config.Subjects[0]),
				"add that subject to it, or choose another RELAY_STREAM, RELAY_QUARANTINE_STREAM or RELAY_SUBJECT_PREFIX"
		},
	},
	{
		fields: []string{"Sealed"}, category: CategoryIntake, severity: SeverityFatal,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if !info.Config.Sealed {
				return "", ""
			}
			return "is sealed and takes no messages any more", "choose another stream name"
		},
	},
	{
		fields: []string{"NoAck"}, category: CategoryIntake, severity: SeverityFatal,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if !info.Config.NoAck {
				return "", ""
			}
			return "is configured to acknowledge nothing (no_ack), so no 200 could ever be given", "set no_ack to false"
		},
	},
	{
		fields: []string{"MaxMsgSize"}, category: CategorySize, severity: SeverityFatal,
		judge: func(info *jetstream.StreamInfo, needs Requirements) (problem, hint string) {
			if most := int64(info.Config.MaxMsgSize); most <= 0 || most >= needs.MaxMessage {
				return "", ""
			}
			return fmt.Sprintf("takes messages of at most %d bytes, and an event can have %d", info.Config.MaxMsgSize, needs.MaxMessage),
				"raise its max_msg_size or lower RELAY_MAX_BODY_BYTES"
		},
	},
	{
		fields: []string{""}, category: CategorySize, severity: SeverityFatal,
		judge: func(_ *jetstream.StreamInfo, needs Requirements) (problem, hint string) {
			if needs.MaxPayload >= needs.MaxMessage {
				return "", ""
			}
			return fmt.Sprintf("is on a broker that takes messages of at most %d bytes, and an event can have %d", needs.MaxPayload, needs.MaxMessage),
				"raise max_payload in the broker's configuration or lower RELAY_MAX_BODY_BYTES"
		},
	},
	{
		fields: []string{"AllowMsgCounter"}, category: CategoryIntake, severity: SeverityRefuse,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if !info.Config.AllowMsgCounter {
				return "", ""
			}
			return "takes counters and nothing else (allow_msg_counter)", "choose another stream name: that cannot be changed"
		},
	},
}

// truthRules are about streams that acknowledge, and then do not have the message
// where it should be.
var truthRules = []rule{
	{
		// Without a consumer that wants it, the server acknowledges a message under a
		// sequence, remembers its id, and stores nothing. Consumers come and go without
		// a change of the stream, so one that is there now makes it no better.
		fields: []string{"Retention"}, category: CategoryRetention, severity: SeverityRefuse,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if info.Config.Retention != jetstream.InterestPolicy {
				return "", ""
			}
			return "acknowledges events and does not store them while no consumer is there that wants them (retention interest)", "set its retention to limits"
		},
	},
	{
		// The server applies it before it stores, and acknowledges all the same.
		fields: []string{"SubjectTransform"}, category: CategoryIntake, severity: SeverityRefuse,
		judge: func(info *jetstream.StreamInfo, needs Requirements) (problem, hint string) {
			t := info.Config.SubjectTransform
			if t == nil || t.Source == t.Destination || !subjectsOverlap(orAll(t.Source), needs.Config.Subjects[0]) {
				return "", ""
			}
			return fmt.Sprintf("stores events under other subjects, where consumers do not look (subject_transform from %q to %q)", orAll(t.Source), t.Destination), "remove its subject_transform"
		},
	},
	{
		fields: []string{"MaxMsgsPerSubject", "DiscardNewPerSubject"}, category: CategoryRetention, severity: SeverityRefuse,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if !evictsPerSubject(info.Config) {
				return "", ""
			}
			return fmt.Sprintf("drops the oldest events of a subject once there are %d (max_msgs_per_subject)", info.Config.MaxMsgsPerSubject), "set its max_msgs_per_subject to -1"
		},
	},
	{
		fields: []string{"Discard", "MaxMsgs", "MaxBytes"}, category: CategoryRetention, severity: SeverityRefuse,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if info.Config.Discard != jetstream.DiscardOld || !isBounded(info.Config) {
				return "", ""
			}
			return "drops its oldest events when it is full (discard old)", "set its discard policy to new"
		},
	},
	{
		fields: []string{"PersistMode"}, category: CategoryRetention, severity: SeverityRefuse,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if info.Config.PersistMode != jetstream.AsyncPersistMode {
				return "", ""
			}
			return "acknowledges before it writes (persist_mode async): a crash of the broker loses what was acknowledged", "make it anew without persist_mode"
		},
	},
}

// weaknessRules are about what the relay can live with.
var weaknessRules = []rule{
	{
		fields: []string{"Duplicates"}, category: CategoryWindow,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if info.Config.Duplicates >= config.SenderRetrySpan {
				return "", ""
			}
			return fmt.Sprintf("remembers ids for %s, and APIXO's last retry comes up to %s after the first try: repeats can be stored twice", info.Config.Duplicates, config.SenderRetrySpan),
				"raise its duplicate window"
		},
	},
	{
		fields: []string{""}, category: CategorySize,
		judge: func(_ *jetstream.StreamInfo, needs Requirements) (problem, hint string) {
			most := jsapi.AnswerBytes(needs.MaxMessage)
			if !needs.Leaf || needs.MaxPayload >= most || needs.MaxPayload < needs.MaxMessage { // which is told already
				return "", ""
			}
			return fmt.Sprintf("is behind a leaf node that takes messages of at most %d bytes, and the broker's word about the largest event can have %d: each time that a repeat of it has to be compared, the leaf node would cut the link", needs.MaxPayload, most),
				"raise max_payload of the leaf node or lower RELAY_MAX_BODY_BYTES"
		},
	},
	{
		// After a crash the broker itself passes over damaged records in silence. Where
		// gaps come by themselves, they tell nothing.
		fields: []string{""}, category: CategoryRetention, key: "gaps",
		judge: func(info *jetstream.StreamInfo, needs Requirements) (problem, hint string) {
			n := info.State.NumDeleted
			if n == 0 || makesGaps(info.Config) || isShared(info.Config, needs) {
				return "", ""
			}
			return fmt.Sprintf("has gaps: %d of the events from %d to %d are not there. Somebody, or a limit that it had, has deleted them, or the store is damaged", n, info.State.FirstSeq, info.State.LastSeq),
				"if it was neither, look after the disk, and take them from a backup or from APIXO"
		},
	},
	{
		fields: []string{"Storage"}, category: CategoryRetention,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if info.Config.Storage != jetstream.MemoryStorage {
				return "", ""
			}
			return "is kept in memory: what was acknowledged is gone when the broker restarts", "make it anew with file storage"
		},
	},
	{
		fields: []string{"Retention"}, category: CategoryRetention,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if info.Config.Retention != jetstream.WorkQueuePolicy {
				return "", ""
			}
			return "drops events once they have been consumed (retention workqueue), so that they cannot be replayed or compared with their repeats", "make it anew with retention limits"
		},
	},
	{
		fields: []string{"MaxAge"}, category: CategoryRetention,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if info.Config.MaxAge <= 0 || info.Config.MaxAge >= config.SenderRetrySpan {
				return "", ""
			}
			return fmt.Sprintf("keeps events for %s, and who is away for longer never sees them", info.Config.MaxAge), "raise its max_age"
		},
	},
	{
		fields: []string{"AllowRollup"}, category: CategoryRetention,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if !info.Config.AllowRollup || info.Config.DenyPurge {
				return "", ""
			}
			return "lets one message replace all events (allow_rollup_hdrs), whoever may publish to its subjects", "set allow_rollup_hdrs to false"
		},
	},
	{
		fields: []string{"SubjectDeleteMarkerTTL"}, category: CategoryRetention,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if info.Config.SubjectDeleteMarkerTTL <= 0 {
				return "", ""
			}
			return "puts markers that are no events under the subjects of events that expire (subject_delete_marker_ttl)", "set its subject_delete_marker_ttl to 0"
		},
	},
	{
		// They have been acknowledged elsewhere, and their ids count as the relay's own.
		fields: []string{"Sources"}, category: CategoryRetention,
		judge: func(info *jetstream.StreamInfo, _ Requirements) (problem, hint string) {
			if len(info.Config.Sources) == 0 {
				return "", ""
			}
			return "takes messages from other streams (sources): one with the id of a task makes its webhook a repeat, and all take room", "remove its sources"
		},
	},
}

// settingRules are about settings that are not in force.
var settingRules = []rule{
	{
		fields: []string{"Replicas"}, category: CategoryReplicas,
		judge: func(info *jetstream.StreamInfo, needs Requirements) (problem, hint string) {
			got, want := info.Config.Replicas, needs.Config.Replicas
			if got == want || got > want && !needs.Given.Replicas {
				return "", ""
			}
			return fmt.Sprintf("has %d replicas, RELAY_STREAM_REPLICAS says %d", got, want), fmt.Sprintf("set its number of replicas to %d", want)
		},
	},
	{
		fields: []string{"MaxAge"}, category: CategoryRetention,
		judge: func(info *jetstream.StreamInfo, needs Requirements) (problem, hint string) {
			got, want := info.Config.MaxAge, needs.Config.MaxAge
			if got == want || !needs.Given.MaxAge {
				return "", ""
			}
			return fmt.Sprintf("keeps events %s, RELAY_STREAM_MAX_AGE says %s", forHowLong(got), want), fmt.Sprintf("set its max_age to %s", want)
		},
	},
	{
		fields: []string{"MaxBytes"}, category: CategoryRetention,
		judge: func(info *jetstream.StreamInfo, needs Requirements) (problem, hint string) {
			got, want := max(info.Config.MaxBytes, -1), needs.Config.MaxBytes
			if got == want || got == 0 && want < 0 || !needs.Given.MaxBytes {
				return "", ""
			}
			return fmt.Sprintf("has a max_bytes of %d, RELAY_STREAM_MAX_BYTES says %d", got, want), fmt.Sprintf("set its max_bytes to %d", want)
		},
	},
	{
		fields: []string{"Duplicates"}, category: CategoryWindow,
		judge: func(info *jetstream.StreamInfo, needs Requirements) (problem, hint string) {
			got, want := info.Config.Duplicates, needs.Config.Duplicates
			if got == want || !needs.Given.Dedupe || got < config.SenderRetrySpan { // which is told already
				return "", ""
			}
			return fmt.Sprintf("remembers ids for %s, RELAY_DEDUPE_WINDOW says %s", got, want), fmt.Sprintf("set its duplicate window to %s", want)
		},
	},
}

// takes reports whether a stream takes all that a subject filter stands for.
func takes(cfg jetstream.StreamConfig, subject string) bool {
	return slices.ContainsFunc(cfg.Subjects, func(filter string) bool { return subjectMatches(filter, subject) })
}

// isShared reports whether a stream takes other subjects than the relay's, too.
func isShared(cfg jetstream.StreamConfig, needs Requirements) bool {
	return slices.ContainsFunc(cfg.Subjects, func(s string) bool { return !subjectMatches(needs.Config.Subjects[0], s) })
}

// isBounded reports whether a stream can become full.
func isBounded(cfg jetstream.StreamConfig) bool { return cfg.MaxMsgs > 0 || cfg.MaxBytes > 0 }

// evictsPerSubject reports whether new messages of a subject push old ones out.
func evictsPerSubject(cfg jetstream.StreamConfig) bool {
	return cfg.MaxMsgsPerSubject > 0 && !(cfg.Discard == jetstream.DiscardNew && cfg.DiscardNewPerSubject)
}

// makesGaps reports whether messages leave a stream from between others by themselves.
func makesGaps(cfg jetstream.StreamConfig) bool {
	return cfg.Retention != jetstream.LimitsPolicy || evictsPerSubject(cfg) || cfg.AllowMsgTTL || cfg.AllowRollup
}

func orAll(filter string) string {
	if filter == "" {
		return ">"
	}
	return filter
}

func forHowLong(age time.Duration) string {
	if age <= 0 {
		return "for ever"
	}
	return "for " + age.String()
}
