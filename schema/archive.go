package schema

import (
	"encoding/json"
	"fmt"
)

// ArchivedTask is the data of an event of [TypeTaskArchived] or [TypeTaskArchiveFailed]: what
// became of the files of a result.
type ArchivedTask struct {
	ID string `json:"taskId"`
	// Files are those that are in the archive, in the order of [Task.Addresses]. Empty where
	// the result has none, which the event's reason tells as [ReasonNoAddresses], or where
	// none could be stored.
	Files []ArchivedFile `json:"files"`
	// Failures are the addresses whose files are not in the archive, and will not be. There is
	// at least one in an event of [TypeTaskArchiveFailed], and none in the other.
	Failures []ArchiveFailure `json:"failures,omitempty"`
}

// ArchivedFile is a file in an archive.
type ArchivedFile struct {
	// URL is the address in the result, as it stands there.
	URL string `json:"url"`
	// Location is where the file is: nats:BUCKET/KEY, s3://BUCKET/KEY or file:///PATH. A
	// key ends in the task's id, a slash, and the file's name.
	Location string `json:"location"`
	// Bytes is its size.
	Bytes int64 `json:"bytes"`
	// MediaType is what it begins like, whatever its origin called it.
	MediaType string `json:"mediaType"`
	// SHA256 is its digest in 64 hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// ArchiveFailure is an address whose file is not in the archive.
type ArchiveFailure struct {
	// URL is the address in the result, as it stands there; empty where the failure is about
	// none or about several.
	URL string `json:"url"`
	// Reason says for programs why: one of the Reason constants, or a word that a later
	// version adds.
	Reason string `json:"reason"`
	// Detail says it for people, in one line without secrets.
	Detail string `json:"detail"`
}

// Reasons of an [ArchiveFailure].
const (
	// ReasonInvalidAddress: it is no absolute http or https URL.
	ReasonInvalidAddress = "invalid-address"
	// ReasonNotHTTPS: it is http, and no entry of RELAY_ARCHIVE_HOSTS allows that origin.
	ReasonNotHTTPS = "not-https"
	// ReasonForbiddenHost: no entry of RELAY_ARCHIVE_HOSTS allows its host, or there is a user
	// in it.
	ReasonForbiddenHost = "forbidden-host"
	// ReasonForbiddenAddress: its host is at an address that is not public.
	ReasonForbiddenAddress = "forbidden-address"
	// ReasonTooManyRedirects: it leads on more than three times.
	ReasonTooManyRedirects = "too-many-redirects"
	// ReasonGone: the origin does not give the file any more, as after it has expired.
	ReasonGone = "gone"
	// ReasonRefused: the origin answered something else that another try would not mend.
	ReasonRefused = "refused"
	// ReasonTooLarge: the file has more than RELAY_ARCHIVE_MAX_BYTES.
	ReasonTooLarge = "too-large"
	// ReasonTooMany: the result has more addresses than are archived of one.
	ReasonTooMany = "too-many"
	// ReasonUnavailable: what could have passed has lasted until the address expired.
	ReasonUnavailable = "unavailable"
)

// ReasonNoAddresses is the reason of an event of [TypeTaskArchived] that has no files, since
// there are no addresses in the result.
const ReasonNoAddresses = "no-addresses"

// ArchiveFailureReasons are all reasons that an [ArchiveFailure] of this version can have. The
// slice is the caller's.
func ArchiveFailureReasons() []string {
	return []string{
		ReasonInvalidAddress, ReasonNotHTTPS, ReasonForbiddenHost, ReasonForbiddenAddress, ReasonTooManyRedirects,
		ReasonGone, ReasonRefused, ReasonTooLarge, ReasonTooMany, ReasonUnavailable,
	}
}

// Archived reads the data of an event of [TypeTaskArchived] or [TypeTaskArchiveFailed]. It
// returns an error if the event is of another type, or its data is not of that form, or
// tells no task. What else is in it was told by whoever published it: locations too are to
// be looked at before something is read there.
func (e Event) Archived() (task ArchivedTask, err error) {
	if e.Type != TypeTaskArchived && e.Type != TypeTaskArchiveFailed {
		return task, fmt.Errorf("the event %q is of type %q, which tells of no archive", e.ID, e.Type)
	}
	if err := json.Unmarshal(e.Data, &task); err != nil {
		return ArchivedTask{}, fmt.Errorf("the data of the event %q cannot be read: %w", e.ID, err)
	}
	if !ValidTaskID(task.ID) {
		return ArchivedTask{}, fmt.Errorf("the data of the event %q cannot be read: its taskId is %s, which is none", e.ID, quote(task.ID))
	}
	return task, nil
}
