package ui

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/timeparse"
	"github.com/apixo-relay/apixo-relay/schema"
)

// formError is about what somebody has entered.
type formError struct{ error }

// Unwrap returns what it is about.
func (e formError) Unwrap() error { return e.error }

// statusOf is the status of an answer that tells of an error: the form's, or the broker's.
func statusOf(err error) int {
	if _, ok := errors.AsType[formError](err); ok {
		return http.StatusBadRequest
	}
	return http.StatusServiceUnavailable
}

// form is a selection of messages as somebody enters it: what the flags of the commands say.
type form struct {
	Since, Until, FromSeq, ToSeq string
	State, Task, Model, FailCode string
	Reason                       string
	Quarantine                   bool
}

// formOf reads the fields of a form.
func formOf(q url.Values) form {
	get := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	return form{
		Since: get("since"), Until: get("until"), FromSeq: get("from-seq"), ToSeq: get("to-seq"),
		State: get("state"), Task: get("task"), Model: get("model"), FailCode: get("fail-code"),
		Reason: get("reason"), Quarantine: get("quarantine") != "",
	}
}

// query is the form as the parameters of an address.
func (f form) query() url.Values {
	q := make(url.Values)
	for _, field := range f.fields() {
		if field.Value != "" {
			q.Set(field.Name, field.Value)
		}
	}
	return q
}

// fields are those of the form, by the names of the flags.
func (f form) fields() []fact {
	quarantine := ""
	if f.Quarantine {
		quarantine = "1"
	}
	return []fact{
		{Name: "since", Value: f.Since}, {Name: "until", Value: f.Until}, {Name: "from-seq", Value: f.FromSeq}, {Name: "to-seq", Value: f.ToSeq},
		{Name: "state", Value: f.State}, {Name: "task", Value: f.Task}, {Name: "model", Value: f.Model}, {Name: "fail-code", Value: f.FailCode},
		{Name: "quarantine", Value: quarantine}, {Name: "reason", Value: f.Reason},
	}
}

// flags are the form as the flags of a command.
func (f form) flags() string {
	var b strings.Builder
	for _, field := range f.fields() {
		switch {
		case field.Value == "":
		case field.Name == "quarantine":
			b.WriteString(" --quarantine")
		default:
			b.WriteString(" --" + field.Name + " " + shellWord(field.Value))
		}
	}
	return b.String()
}

// shellWord writes a value so that a shell takes it for one word.
func shellWord(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.:/=@%+,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !safe(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// selection is what to read of the configured streams. Its errors say which field is wrong, and
// are a formError.
func (f form) selection(cfg config.Config, now time.Time) (s streamreader.Selection, filter streamreader.Filter, err error) {
	if s, filter, err = f.parse(cfg, now); err != nil {
		err = formError{err}
	}
	return s, filter, err
}

func (f form) parse(cfg config.Config, now time.Time) (s streamreader.Selection, filter streamreader.Filter, err error) {
	s = streamreader.Selection{Domain: cfg.Stream.Domain, Stream: cfg.Stream.Name, Subjects: []string{schema.TaskSubjects(cfg.Stream.Prefix)}}
	instant := func(field, value string) (at time.Time) {
		if value == "" {
			return at
		}
		at, e := timeparse.Instant(value, now)
		if e != nil && err == nil {
			err = fmt.Errorf("%s: %q %w", field, shorten(value), e)
		}
		return at
	}
	sequence := func(field, value string) uint64 {
		if value == "" {
			return 0
		}
		n, e := strconv.ParseUint(value, 10, 64)
		if (e != nil || n == 0) && err == nil {
			err = fmt.Errorf("%s: %q is no sequence: those are whole numbers from 1 on", field, shorten(value))
		}
		return n
	}
	s.Since, s.Until = instant("Since", f.Since), instant("Until", f.Until)
	s.FromSeq, s.ToSeq = sequence("From sequence", f.FromSeq), sequence("To sequence", f.ToSeq)
	add := func(list []string, value string) []string {
		if value != "" {
			list = append(list, value)
		}
		return list
	}
	filter.Tasks, filter.Models, filter.FailCodes, filter.Reasons = add(nil, f.Task), add(nil, f.Model), add(nil, f.FailCode), add(nil, f.Reason)
	states := []string{"", string(schema.StateSuccess), string(schema.StateFailed)}
	switch {
	case err != nil:
		return s, filter, err
	case f.Since != "" && f.FromSeq != "":
		return s, filter, errors.New("Since and From sequence exclude each other: both say where to begin")
	case s.ToSeq != 0 && s.ToSeq < s.FromSeq:
		return s, filter, fmt.Errorf("To sequence %d is before From sequence %d", s.ToSeq, s.FromSeq)
	case !s.Until.IsZero() && s.Until.Before(s.Since):
		return s, filter, fmt.Errorf("Until %s is before Since %s", f.Until, f.Since)
	case !slices.Contains(states, f.State):
		return s, filter, fmt.Errorf("State: %q is neither success nor failed", shorten(f.State))
	case f.Quarantine && f.State != "", f.Quarantine && f.FailCode != "":
		return s, filter, errors.New("what is quarantined has no state and no fail code: leave them out, or the quarantine")
	case f.Reason != "" && !f.Quarantine:
		return s, filter, errors.New("Reason is about the quarantine: choose that, too")
	case f.State != "":
		s.Subjects = []string{schema.TaskSubject(cfg.Stream.Prefix, schema.State(f.State))}
	case f.Quarantine:
		s.Stream, s.Subjects = cfg.Stream.Quarantine, []string{schema.QuarantineSubjects(cfg.Stream.Prefix)}
	}
	return s, filter, nil
}
