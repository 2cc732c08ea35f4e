package publisher

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// update is what RELAY_STREAM_POLICY=update makes of a stream: what the relay
// needs, and nothing that takes something away from those who use it, too.
type update struct {
	config  jetstream.StreamConfig
	changes []change
	// withheld says of fields that differ from what was asked for why they stay, and
	// what to do.
	withheld map[string]string
}

// change is that of one field.
type change struct {
	field    string
	from, to any
}

// set changes a field where that is a change.
func set[T comparable](u *update, field string, have *T, to T) {
	if *have != to {
		u.changes = append(u.changes, change{field, *have, to})
		*have = to
	}
}

// planUpdate finds out what can be changed. It looks at what is in the stream:
// nothing is changed that would delete messages.
func planUpdate(info *jetstream.StreamInfo, needs Requirements) update {
	u := update{config: info.Config, withheld: make(map[string]string)}
	have, want := &u.config, needs.Config
	if have.Mirror != nil || have.Sealed {
		return u // nothing can be done with it
	}
	if !takes(*have, want.Subjects[0]) {
		u.addSubject(want.Subjects[0])
	}
	if want.Replicas > have.Replicas || needs.Given.Replicas {
		set(&u, "replicas", &have.Replicas, want.Replicas)
	}
	u.setAge(info, needs)
	u.setSize(info, needs)
	u.setDiscard(info.Config, needs)
	window := want.Duplicates
	if have.MaxAge > 0 && window > have.MaxAge {
		window = have.MaxAge // the broker takes no longer one
		u.withheld["Duplicates"] = fmt.Sprintf("raise its max_age of %s first: a window cannot be longer", have.MaxAge)
	}
	if window > have.Duplicates || needs.Given.Dedupe {
		set(&u, "duplicate_window", &have.Duplicates, window)
	}
	set(&u, "allow_direct", &have.AllowDirect, have.AllowDirect || want.AllowDirect)
	return u
}

// addSubject adds a subject, which takes the place of those that are part of it.
func (u *update) addSubject(subject string) {
	before := u.config.Subjects
	u.config.Subjects = append(slices.DeleteFunc(slices.Clone(before), func(s string) bool { return subjectMatches(subject, s) }), subject)
	u.changes = append(u.changes, change{"subjects", before, u.config.Subjects})
}

// setAge lengthens the time for which messages are kept, or shortens it where that was
// asked for, and no message is older. Where others have messages, too, either has to be
// asked for.
func (u *update) setAge(info *jetstream.StreamInfo, needs Requirements) {
	want := needs.Config.MaxAge
	shorter := isLess(int64(want), int64(u.config.MaxAge))
	if !needs.Given.MaxAge && (shorter || isShared(info.Config, needs)) {
		return
	}
	now := info.TimeStamp
	if now.IsZero() {
		now = time.Now()
	}
	if shorter && info.State.Msgs > 0 && info.State.FirstTime.Before(now.Add(-want)) {
		u.withheld["MaxAge"] = fmt.Sprintf("it holds messages from %s on, and a max_age of %s would delete them: set it yourself if they may go, or unset RELAY_STREAM_MAX_AGE", info.State.FirstTime.UTC().Format(time.RFC3339), want)
		return
	}
	set(u, "max_age", &u.config.MaxAge, want)
}

// setSize does the same with the size.
func (u *update) setSize(info *jetstream.StreamInfo, needs Requirements) {
	want := needs.Config.MaxBytes
	smaller := isLess(want, u.config.MaxBytes)
	switch {
	case want <= 0 && u.config.MaxBytes <= 0: // no bound has more than one spelling
	case !needs.Given.MaxBytes && (smaller || isShared(info.Config, needs)):
	case smaller && info.State.Bytes > uint64(want):
		u.withheld["MaxBytes"] = fmt.Sprintf("it holds %d bytes already, which are more than a max_bytes of %d: remove messages yourself, or raise RELAY_STREAM_MAX_BYTES", info.State.Bytes, want)
	default:
		set(u, "max_bytes", &u.config.MaxBytes, want)
	}
}

// setDiscard lets a full stream refuse instead of evicting. Those who share it and its
// bound may count on being let in.
func (u *update) setDiscard(before jetstream.StreamConfig, needs Requirements) {
	switch {
	case before.Discard == needs.Config.Discard:
	case before.AllowMsgSchedules, before.AllowMsgCounter:
		u.withheld["Discard"] = "remove its max_msgs and max_bytes, or choose another stream name: with schedules or counters in it, it cannot refuse"
	case !isShared(before, needs), isBounded(u.config) && !isBounded(before):
		set(u, "discard", &u.config.Discard, needs.Config.Discard)
	case isBounded(before):
		u.withheld["Discard"] = fmt.Sprintf("set its discard policy to new yourself if those who publish to its other subjects (%q) can be refused, or choose another stream name", before.Subjects)
	}
}

// isLess compares bounds, where none is the largest.
func isLess(a, b int64) bool { return a > 0 && (b <= 0 || a < b) }

// update changes an existing stream, if that makes it fit and there is something to
// change.
func (p *Publisher) update(ctx context.Context, l *session, stream jetstream.Stream, needs Requirements) (jetstream.Stream, error) {
	plan := planUpdate(stream.CachedInfo(), needs)
	after := *stream.CachedInfo()
	after.Config = plan.config
	if len(plan.changes) == 0 || firstFatal(ValidateStream(&after, needs)) >= 0 {
		return stream, nil
	}
	name := needs.Config.Name
	stream, err := p.streamInfo(ctx, "UPDATE", name, func(ctx context.Context) (jetstream.Stream, error) { return l.js.UpdateStream(ctx, plan.config) })
	if err != nil {
		return nil, p.refusedConfig(ctx, l, "changed", plan.config, err)
	}
	// A server that does not know a field leaves it out.
	left := planUpdate(stream.CachedInfo(), needs).changes
	attributes := []any{"stream", name}
	for _, c := range plan.changes {
		if !slices.ContainsFunc(left, func(l change) bool { return l.field == c.field }) {
			attributes = append(attributes, c.field, fmt.Sprintf("%v → %v", c.from, c.to))
		}
	}
	if len(attributes) > 2 {
		p.log.Info("changed the stream", attributes...)
	}
	return stream, nil
}
