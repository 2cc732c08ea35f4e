package publisher

import (
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Category is what an [Issue] is about.
type Category string

// What the relay needs of a stream.
const (
	CategoryIntake    Category = "intake"    // that its messages get into it under their subjects, and an acknowledgement out
	CategorySize      Category = "size"      // that the largest message fits
	CategoryWindow    Category = "window"    // that ids are remembered for long enough
	CategoryRetention Category = "retention" // that what was acknowledged stays until it expires
	CategoryReplicas  Category = "replicas"  // that enough servers keep it
)

// Severity is what an [Issue] does to the relay's promises.
type Severity int

// The severities, from the least to the greatest.
const (
	// SeverityWarn weakens a promise, or is a setting that is not in force.
	SeverityWarn Severity = iota
	// SeverityRefuse would make a 200 untrue: nothing is sent to the stream until
	// somebody has mended it.
	SeverityRefuse
	// SeverityFatal keeps messages out, or the largest of them, and the stream says
	// so itself. It is an error at the start under every policy.
	SeverityFatal
)

// Issue is something about an existing stream that is not as the relay needs it.
type Issue struct {
	Category Category
	Severity Severity
	// Problem says what is wrong, as the rest of a sentence that begins with the
	// stream's name; Hint what to do.
	Problem, Hint string
	// Missing: what the relay sends does not get into the stream.
	Missing bool
	// Updatable: RELAY_STREAM_POLICY=update mends it, and takes nothing away.
	Updatable bool

	key string // the same as long as it is the same issue
}

// Requirements are what the relay needs of one of its streams.
type Requirements struct {
	// Config is the stream as the relay makes it.
	Config jetstream.StreamConfig
	// Given are those of its settings that hold for an existing stream, too.
	Given config.GivenStream
	// MaxMessage is the size of the largest message that the relay stores, and
	// MaxPayload that of the largest that the broker takes, in bytes.
	MaxMessage, MaxPayload int64
	// Leaf: what is read of the stream comes by way of a leaf node.
	Leaf bool
}

// DesiredStreams are the streams as the relay makes them: that of the events, and the
// quarantine.
func DesiredStreams(cfg config.Stream) (events, quarantine jetstream.StreamConfig) {
	events = jetstream.StreamConfig{
		Name:        cfg.Name,
		Description: "Results of APIXO tasks, as CloudEvents.",
		Subjects:    []string{schema.TaskSubjects(cfg.Prefix)},
		Storage:     jetstream.FileStorage,
		Replicas:    cfg.Replicas,
		MaxAge:      cfg.MaxAge,
		MaxBytes:    cfg.MaxBytes,
		Duplicates:  cfg.Dedupe,
		// A full stream must refuse: evicting the oldest events would lose what
		// was acknowledged, and nobody would be told.
		Discard: jetstream.DiscardNew,
		// For consumers: the relay itself asks the leader.
		AllowDirect: true,
	}
	quarantine = events
	quarantine.Name, quarantine.Subjects = cfg.Quarantine, []string{schema.QuarantineSubjects(cfg.Prefix)}
	quarantine.Description = "Webhooks that could not become events, byte for byte."
	return events, quarantine
}

// ValidateStream holds a stream against the relay's needs, and returns what is
// wrong with it: first what makes it unfit.
func ValidateStream(info *jetstream.StreamInfo, needs Requirements) (issues []Issue) {
	update := planUpdate(info, needs)
	after := *info
	after.Config = update.config
	for _, r := range rules {
		problem, hint := r.judge(info, needs)
		if problem == "" {
			continue
		}
		issue := Issue{Category: r.category, Severity: r.severity, Problem: problem, Hint: hint, Missing: r.missing, key: r.key}
		if issue.key == "" {
			issue.key = problem
		}
		if left, _ := r.judge(&after, needs); left == "" {
			issue.Updatable = true
			issue.Hint += ", or start the relay with RELAY_STREAM_POLICY=update"
		} else if why := update.withheld[r.fields[0]]; why != "" {
			issue.Hint = why
		}
		issues = append(issues, issue)
	}
	return issues
}

// configError makes an error of an issue.
func configError(issue Issue, stream string, policy config.StreamPolicy) *StreamConfigError {
	e := &StreamConfigError{Stream: stream, Problem: issue.Problem, Hint: issue.Hint, Missing: issue.Missing, Fatal: issue.Severity == SeverityFatal}
	if policy == config.PolicyUpdate && !issue.Updatable {
		e.Hint += " (RELAY_STREAM_POLICY=update does not do that)"
	}
	return e
}

// firstFatal is the first issue with which a stream is unfit, or -1.
func firstFatal(issues []Issue) int {
	return slices.IndexFunc(issues, func(issue Issue) bool { return issue.Severity >= SeverityRefuse })
}

// StreamConfigError says that a stream is not there, or not as the relay needs it, and
// that waiting will not mend it.
type StreamConfigError struct {
	Stream string
	// Problem says what is wrong, Hint what to do.
	Problem, Hint string
	// Missing: there is no such stream, or it leaves the relay's subjects out.
	Missing bool
	// Fatal: it is an error at the start under every policy. Others are one only
	// where somebody else has to make the streams.
	Fatal bool
}

// Error names the stream, the problem and the hint.
func (e *StreamConfigError) Error() string {
	return fmt.Sprintf("the stream %s %s; %s", e.Stream, e.Problem, e.Hint)
}
