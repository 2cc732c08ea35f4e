package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// SubjectError says why events are not published to a subject.
type SubjectError struct{ why string }

// Error returns the reason, and what to do instead.
func (e *SubjectError) Error() string { return e.why }

// instead is what serves those who want to replay into the relay's own subjects.
const instead = "within the duplicate window the broker would drop the events as known, and after it each task would be there twice. " +
	"Replay to another subject, with or without a stream of its own; or let a new consumer of the relay's stream begin at an earlier sequence or time, which needs no replay. " +
	"Quarantined webhooks go back with '--quarantine --to CALLBACK-URL', and tasks whose webhooks never came are fetched by 'apixo-relay backfill'"

// check refuses a subject that is none, and those that lead into the relay's own
// streams. It returns the stream that takes the subject, or nil.
func (o NATSOptions) check(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamConfig, error) {
	if err := checkSubject(o.Subject); err != nil {
		return nil, err
	}
	for _, space := range []string{".task.", ".quarantine."} {
		if strings.HasPrefix(o.Subject, o.Prefix+space) {
			return nil, &SubjectError{fmt.Sprintf("%s is one of the relay's own subjects: %s", o.Subject, instead)}
		}
	}
	name, err := js.StreamNameBySubject(ctx, o.Subject)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the broker does not say which stream takes the subject %s: %w", o.Subject, err)
	}
	if slices.Contains(o.Own, name) {
		return nil, &SubjectError{fmt.Sprintf("%s goes into the relay's own stream %s: %s", o.Subject, name, instead)}
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("the broker does not tell about the stream %s, which takes the subject %s: %w", name, o.Subject, err)
	}
	cfg := stream.CachedInfo().Config
	if r := cfg.RePublish; r != nil && (strings.HasPrefix(r.Destination, o.Prefix+".") || r.Destination == ">") {
		return nil, &SubjectError{fmt.Sprintf("the stream %s republishes what comes to %s as %s, into the relay's own subjects: %s", name, o.Subject, r.Destination, instead)}
	}
	return &cfg, o.checkSources(ctx, js, name)
}

// checkSources refuses a stream from which one of the relay's takes what comes.
func (o NATSOptions) checkSources(ctx context.Context, js jetstream.JetStream, name string) error {
	for _, own := range o.Own {
		stream, err := js.Stream(ctx, own)
		if err != nil {
			continue // reading says why, if that is the one
		}
		for _, source := range stream.CachedInfo().Config.Sources {
			if source.Name == name {
				return &SubjectError{fmt.Sprintf("%s goes into the stream %s, from which the relay's own stream %s takes what comes: %s", o.Subject, name, own, instead)}
			}
		}
	}
	return nil
}

// maxSubject keeps a subject, in bytes, well within the 4 KiB that a broker's line of
// control may have by default.
const maxSubject = 1024

// checkSubject refuses what is no subject for events.
func checkSubject(subject string) error {
	switch {
	case subject == "":
		return &SubjectError{"a subject is missing: write nats:SUBJECT, such as nats:replayed.tasks"}
	case strings.HasPrefix(subject, "//"):
		return &SubjectError{"the address of a broker is no subject: write nats:SUBJECT, such as nats:replayed.tasks, and name the broker with NATS_URL"}
	case len(subject) > maxSubject:
		return &SubjectError{fmt.Sprintf("a subject of %d bytes is longer than %d, which is what a broker takes in any case", len(subject), maxSubject)}
	case strings.ContainsAny(subject, "*>"):
		return &SubjectError{fmt.Sprintf("%q has a wildcard in it: events go to one subject", subject)}
	case strings.ContainsFunc(subject, func(r rune) bool { return r <= ' ' || r == 0x7f }),
		strings.HasPrefix(subject, "."), strings.HasSuffix(subject, "."), strings.Contains(subject, ".."):
		return &SubjectError{fmt.Sprintf("%q is no NATS subject: that is words with dots between them, such as replayed.tasks", subject)}
	case strings.HasPrefix(subject, "$"), strings.HasPrefix(subject, "_INBOX."):
		return &SubjectError{fmt.Sprintf("%s is a subject of the broker's own: events do not belong there", subject)}
	}
	return nil
}
