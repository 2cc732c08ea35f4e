package schema

// State is how a task ended.
type State string

// The final states of a task (APIXO's webhook documentation, "Payload Fields").
// The status API knows others, which a webhook never carries.
const (
	StateSuccess State = "success"
	StateFailed  State = "failed"
)

// Types of the CloudEvents that the relay publishes.
const (
	// TypeTaskSuccess and TypeTaskFailed carry a task's result as [Task] reads it.
	TypeTaskSuccess = "ai.apixo.task.success"
	TypeTaskFailed  = "ai.apixo.task.failed"
	// TypeWebhookRejected carries a request body that is no final APIXO result, or
	// whose headers say that it is not JSON, TypeWebhookConflict one that contradicts
	// the event stored for its task; both byte for byte.
	TypeWebhookRejected = "ai.apixo.webhook.rejected"
	TypeWebhookConflict = "ai.apixo.webhook.conflict"
	// TypeTaskMissing tells of an announced task that was given up, as [MissingTask] reads
	// it, and TypeAnnouncementRejected keeps an announcement that cannot be used, byte for
	// byte.
	TypeTaskMissing          = "ai.apixo.task.missing"
	TypeAnnouncementRejected = "ai.apixo.announcement.rejected"
	// TypeTaskArchived tells that the files of a result are in an archive,
	// TypeTaskArchiveFailed that some of them are not and will not be; [Event.Archived]
	// reads both.
	TypeTaskArchived      = "ai.apixo.task.archived"
	TypeTaskArchiveFailed = "ai.apixo.task.archive-failed"
)

// Names that the relay uses unless it is configured otherwise.
const (
	// DefaultPrefix starts every subject.
	DefaultPrefix = "apixo"
	// DefaultStream holds the events, DefaultQuarantine what could not become one.
	DefaultStream     = "APIXO"
	DefaultQuarantine = "APIXO_QUARANTINE"
	// DefaultArchive is the stream that tells what apixo-relay archive has stored.
	DefaultArchive = "APIXO_ARCHIVE"
	// DefaultExpectedBucket is the key-value bucket of announced tasks: see [ExpectedTask]
	// and [ExpectedKey].
	DefaultExpectedBucket = "APIXO_EXPECTED"
)

// HeaderRecovered is the NATS header of what was stored although no webhook brought it. Its
// value is one of the Recovered constants, or a word that a later version adds. What came
// by webhook never has it.
//
// It is for operators: the event is the same as its webhook's would be, and no attribute
// tells.
const HeaderRecovered = "Apixo-Recovered"

// Values of [HeaderRecovered]: who asked the status API.
const (
	// RecoveredReconciled: the relay, since the webhook of an announced task did not come.
	RecoveredReconciled = "reconciled"
	// RecoveredBackfill: an operator, by apixo-relay backfill.
	RecoveredBackfill = "backfill"
)

// EventType is the CloudEvents type of a task's event.
func EventType(s State) string {
	if s == StateSuccess {
		return TypeTaskSuccess
	}
	return TypeTaskFailed
}

// TaskSubject is the NATS subject of events of tasks that ended so, under a
// prefix such as [DefaultPrefix].
func TaskSubject(prefix string, s State) string { return prefix + ".task." + string(s) }

// TaskSubjects matches the subjects of all task events.
func TaskSubjects(prefix string) string { return prefix + ".task.>" }

// RejectedSubject is the NATS subject of events of [TypeWebhookRejected] and of
// [TypeAnnouncementRejected].
func RejectedSubject(prefix string) string { return prefix + ".quarantine.rejected" }

// ConflictSubject is the NATS subject of events of [TypeWebhookConflict].
func ConflictSubject(prefix string) string { return prefix + ".quarantine.conflict" }

// MissingSubject is the NATS subject of events of [TypeTaskMissing].
func MissingSubject(prefix string) string { return prefix + ".quarantine.missing" }

// QuarantineSubjects matches the subjects of all that is quarantined.
func QuarantineSubjects(prefix string) string { return prefix + ".quarantine.>" }

// ArchivedSubject is the NATS subject of events of [TypeTaskArchived].
func ArchivedSubject(prefix string) string { return prefix + ".archive.stored" }

// ArchiveFailedSubject is the NATS subject of events of [TypeTaskArchiveFailed].
func ArchiveFailedSubject(prefix string) string { return prefix + ".archive.failed" }

// ArchiveSubjects matches the subjects of all that the archive tells.
func ArchiveSubjects(prefix string) string { return prefix + ".archive.>" }
