package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// ackWait is after how long without a word of this program the broker delivers an event
	// again.
	ackWait = 30 * time.Second
	// maxAckPending is how many events may be under way or wait for another try, of all
	// instances together.
	maxAckPending = 10_000
	// brokerTimeout is how long the broker may take to confirm something.
	brokerTimeout = 10 * time.Second

	// metadataTarget is what the consumer keeps of where the files go.
	metadataTarget = "apixo-archive-target"
)

var consumerName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func isConsumerName(s string) bool { return len(s) <= 64 && consumerName.MatchString(s) }

// DesiredStream is the stream of what the archive tells, as it is made. With an age of 0 it
// keeps that for ever: files outlive the events of their tasks, and are found by it.
func DesiredStream(c config.Stream, maxAge time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: schema.DefaultArchive, Description: "What is in the archive of the results of APIXO tasks, as CloudEvents.",
		Subjects: []string{schema.ArchiveSubjects(c.Prefix)},
		Storage:  jetstream.FileStorage, Replicas: c.Replicas, MaxAge: maxAge, Duplicates: window(c.Dedupe, maxAge),
		Discard: jetstream.DiscardNew, AllowDirect: true,
	}
}

func (a *Archiver) stream() jetstream.StreamConfig { return DesiredStream(a.cfg.Stream, a.o.MaxAge) }

// window is a duplicate window; it cannot be longer than messages live.
func window(wanted, maxAge time.Duration) time.Duration {
	if maxAge > 0 {
		return min(wanted, maxAge)
	}
	return wanted
}

// deadStream is that of dead letters, which the examples of consumers have, too.
func (a *Archiver) deadStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: deadStream, Description: "Events that a consumer could not deal with, with the reason.",
		Subjects: []string{deadPrefix + ".>"}, Storage: jetstream.FileStorage, Replicas: a.cfg.Stream.Replicas,
	}
}

// openStream makes a stream unless it is there, or somebody else has to make it. An existing
// one stays as it is.
func (a *Archiver) openStream(ctx context.Context, want jetstream.StreamConfig) error {
	stream, err := ask(ctx, a, "STREAM.INFO."+want.Name, func(ctx context.Context) (jetstream.Stream, error) { return a.js.Stream(ctx, want.Name) })
	switch {
	case err == nil:
		subjects := stream.CachedInfo().Config.Subjects
		if !slices.ContainsFunc(subjects, func(s string) bool { return server.SubjectsCollide(s, want.Subjects[0]) }) {
			return fmt.Errorf("the stream %s takes the subjects %q, which leaves %s out: it belongs to another RELAY_SUBJECT_PREFIX; add that subject to it, or give this prefix a NATS account of its own", want.Name, subjects, want.Subjects[0])
		}
		return nil
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return explain("the stream "+want.Name, err)
	case a.cfg.Stream.Policy == config.PolicyRequire:
		return fmt.Errorf("the stream %s does not exist, and RELAY_STREAM_POLICY=require leaves making it to you: make it with the subject %s", want.Name, want.Subjects[0])
	}
	_, err = ask(ctx, a, "STREAM.CREATE."+want.Name, func(ctx context.Context) (jetstream.Stream, error) { return a.js.CreateStream(ctx, want) })
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil // another instance was first
	}
	if err == nil {
		a.log.Info("made the stream", "stream", want.Name, "subjects", want.Subjects, "replicas", want.Replicas)
	}
	return explain("the stream "+want.Name, err)
}

// openConsumer returns the durable consumer, which it makes if it is missing.
func (a *Archiver) openConsumer(ctx context.Context) (jetstream.Consumer, error) {
	stream, name, what := a.cfg.Stream.Name, a.o.Durable, "the consumer "+a.o.Durable+" of the stream "+a.cfg.Stream.Name
	subject := a.subject()
	find := func() (jetstream.Consumer, error) {
		return ask(ctx, a, "CONSUMER.INFO."+stream+"."+name, func(ctx context.Context) (jetstream.Consumer, error) { return a.js.Consumer(ctx, stream, name) })
	}
	c, err := find()
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		start := time.Now().Add(-a.o.Since)
		want := jetstream.ConsumerConfig{
			Durable: name, Description: "apixo-relay archive",
			DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &start,
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: a.ackWait(), MaxAckPending: maxAckPending,
			FilterSubject: subject, Metadata: map[string]string{metadataTarget: a.o.Target.String()},
		}
		c, err = ask(ctx, a, "CONSUMER.CREATE."+stream+"."+name+"."+subject, func(ctx context.Context) (jetstream.Consumer, error) { return a.js.CreateConsumer(ctx, stream, want) })
		if err == nil {
			a.log.Info("made the consumer", "stream", stream, "consumer", name, "since", start.UTC().Truncate(time.Second))
		} else if errors.Is(err, jetstream.ErrConsumerExists) { // another instance was first
			c, err = find()
		}
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("the stream %s is not there: start the relay ('apixo-relay'), which makes it, or name the one it has in RELAY_STREAM", stream)
	case err != nil:
		return nil, explain(what, err)
	}
	config := c.CachedInfo().Config
	switch other := config.Metadata[metadataTarget]; {
	case other != "" && other != a.o.Target.String():
		return nil, fmt.Errorf("%s stores to %s, and --to is %s: one consumer shares its work among those who store to one place; give this one a name of its own with --durable", what, other, a.o.Target)
	case config.FilterSubject != subject || config.AckPolicy != jetstream.AckExplicitPolicy:
		return nil, fmt.Errorf("%s is not one that the archive can use: it has the filter %q and the acknowledgement policy %s, and needs %q and explicit; give the archive another name with --durable", what, config.FilterSubject, config.AckPolicy, subject)
	}
	return c, nil
}

func (a *Archiver) ackWait() time.Duration { return cmp.Or(a.o.ackWait, ackWait) }

// ask puts a question to JetStream's API. Its error is a *[broker.PermissionError] where the
// broker does not let this user ask, which is not answered.
func ask[T any](ctx context.Context, a *Archiver, verb string, question func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	ctx, stop := a.denied.Guard(ctx, jsapi.Prefix(a.cfg.Stream.Domain)+verb)
	defer stop(nil)
	answer, err := question(ctx)
	if denied, ok := errors.AsType[*broker.PermissionError](context.Cause(ctx)); ok && err != nil {
		err = denied
	}
	return answer, err
}

// explain words an error of the broker about something; nil stays nil.
func explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%s cannot be used: the broker has no JetStream for this account: %w", what, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("%s cannot be used: the broker did not answer within %s: it is stalled or without quorum", what, brokerTimeout)
	}
	return fmt.Errorf("%s cannot be used: %w", what, err)
}
