package schema

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrNotJSON and ErrNotResult tell the two ways in which a body can be no
// webhook apart: use them with errors.Is.
var (
	// ErrNotJSON: the bytes are not exactly one JSON text in UTF-8 (RFC 8259),
	// or one that different readers would understand differently (a member name
	// twice in one object) or not at all (nesting over [MaxDepth]).
	ErrNotJSON = errors.New("not one JSON text")
	// ErrNotResult: it is JSON, but not the final result of a task.
	ErrNotResult = errors.New("not a final APIXO result")
)

// Codes of an [Error], and reasons of what is quarantined, for programs: the
// list may grow, the words stay.
const (
	CodeEmpty           = "empty-body"
	CodeInvalidUTF8     = "invalid-utf8"
	CodeSyntax          = "invalid-json"
	CodeTrailingData    = "trailing-data"
	CodeDuplicateMember = "duplicate-member"
	CodeTooDeep         = "too-deep"
	CodeMemberMissing   = "member-missing"
	CodeMemberType      = "member-type"
	CodeTaskID          = "invalid-task-id"
	CodeState           = "not-final"
	// CodeModel is about an announcement.
	CodeModel = "invalid-model"
	// CodeResultJSON is about the text inside a resultJson that is a string, and
	// about resultUrls beside resultJson that contradict it: what a JSON Schema
	// cannot tell.
	CodeResultJSON = "invalid-result-json"
	// ReasonContentType and ReasonContentEncoding are no codes of an error: the request's
	// headers say that its body is not JSON, or in another charset or coding than the
	// relay reads. The body may be anything, a webhook too.
	ReasonContentType     = "content-type"
	ReasonContentEncoding = "content-encoding"
	// ReasonConflict is no code of an error: a webhook that contradicts the event
	// stored for its task is well-formed.
	ReasonConflict = "conflict"
	// ReasonNotConfirmed is no code of an error: APIXO's status API tells another outcome
	// of the task than the webhook, or knows no such task (RELAY_VERIFY=enforce).
	ReasonNotConfirmed = "not-confirmed"
)

// Error says why bytes are not a webhook, not the data of an event, or not an announcement.
type Error struct {
	// Kind is ErrNotJSON or ErrNotResult; ErrNotAnnouncement for what announces a task.
	Kind error
	// Code is one of the constants of this package: bounded, fit for a metric.
	Code string
	// Detail is a sentence for a person. It is printable ASCII of at most a few
	// hundred characters, whatever the bytes were.
	Detail string
}

// Error is the kind and the detail.
func (e *Error) Error() string { return e.Kind.Error() + ": " + e.Detail }

// Unwrap is the kind.
func (e *Error) Unwrap() error { return e.Kind }

func notJSON(code, format string, args ...any) error {
	return &Error{Kind: ErrNotJSON, Code: code, Detail: fmt.Sprintf(format, args...)}
}

func notResult(code, format string, args ...any) error {
	return &Error{Kind: ErrNotResult, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// maxQuoted is how many bytes of a foreign value are repeated in an error.
const maxQuoted = 64

// quote makes a foreign value fit for an error: printable, and bounded.
func quote(s string) string {
	if len(s) <= maxQuoted {
		return fmt.Sprintf("%+q", s)
	}
	cut := maxQuoted
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%+q and %d bytes more", s[:cut], len(s)-cut)
}
