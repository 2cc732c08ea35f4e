package streamreader

import (
	"slices"

	"github.com/apixo-relay/apixo-relay/schema"
)

// Filter selects messages by their events. Each list that is not empty must contain the event's
// value.
type Filter struct {
	// Tasks are task ids; of what is quarantined, conflicts, webhooks that were not confirmed
	// and missing tasks tell one.
	Tasks []string
	// Models are values of the attribute model, which the callback URL brings.
	Models []string
	// FailCodes are those of failed tasks.
	FailCodes []string
	// Reasons say why something is in the quarantine.
	Reasons []string
}

// Matches reports whether the filter selects a message. A message without an event matches only
// a filter without lists.
func (f Filter) Matches(m Message) bool {
	in := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
	return in(f.Tasks, m.Event.Subject) && in(f.Models, m.Event.Extensions["model"]) && in(f.Reasons, m.Event.Extensions["reason"]) &&
		(len(f.FailCodes) == 0 || slices.Contains(f.FailCodes, failCode(m.Event)))
}

// failCode returns the code of a failed task; empty for anything else.
func failCode(e schema.Event) string {
	if e.Type != schema.TypeTaskFailed {
		return ""
	}
	task, err := e.Task()
	if err != nil {
		return ""
	}
	return task.FailCode
}
