package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/jserr"
)

// MissingStream is the error of a stream that does not exist although the policy leaves
// making it to somebody else.
func MissingStream(want jetstream.StreamConfig) *StreamConfigError {
	return &StreamConfigError{
		Stream: want.Name, Missing: true, Fatal: true,
		Problem: "does not exist, and RELAY_STREAM_POLICY=require leaves making it to you",
		Hint:    "make it with the subject " + want.Subjects[0] + ", or set RELAY_STREAM_POLICY=create",
	}
}

// checkStream returns the stream as it is in the end. It changes an existing one
// only if the policy says so and settle is true, and makes a missing one only if makes
// is.
func (p *Publisher) checkStream(ctx context.Context, l *session, needs Requirements, settle, makes bool) (jetstream.Stream, error) {
	want := needs.Config
	stream, err := p.streamInfo(ctx, "INFO", want.Name, func(ctx context.Context) (jetstream.Stream, error) { return l.js.Stream(ctx, want.Name) })
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && p.cfg.Policy == config.PolicyRequire:
		return nil, MissingStream(want)
	case errors.Is(err, jetstream.ErrStreamNotFound) && !makes:
		return nil, fmt.Errorf("the stream %s is not there, and is made in a moment unless somebody else makes it", want.Name)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		stream, err = p.streamInfo(ctx, "CREATE", want.Name, func(ctx context.Context) (jetstream.Stream, error) { return l.js.CreateStream(ctx, want) })
		if err != nil {
			return nil, p.refusedConfig(ctx, l, "made", want, err)
		}
		p.log.Info("made the stream", "stream", want.Name, "subjects", want.Subjects, "replicas", want.Replicas, "window", want.Duplicates)
	case err != nil:
		return nil, explain(want.Name, err)
	case p.cfg.Policy == config.PolicyUpdate && settle:
		if stream, err = p.update(ctx, l, stream, needs); err != nil {
			return nil, err
		}
	}
	// A server that is left over still describes a stream that cannot store.
	if cluster := stream.CachedInfo().Cluster; cluster != nil && cluster.Leader == "" {
		return nil, fmt.Errorf("the stream %s has no leader: too few of its %d servers are there", want.Name, stream.CachedInfo().Config.Replicas)
	}
	return stream, nil
}

// streamInfo puts a question about a stream to the broker, or returns a
// *[broker.PermissionError].
func (p *Publisher) streamInfo(ctx context.Context, verb, name string, question func(context.Context) (jetstream.Stream, error)) (jetstream.Stream, error) {
	ctx, cancel := p.broker.permissions.Guard(ctx, jsapi.Prefix(p.cfg.Domain)+"STREAM."+verb+"."+name)
	defer cancel(nil)
	stream, err := question(ctx)
	if denied, ok := errors.AsType[*broker.PermissionError](context.Cause(ctx)); ok && err != nil {
		return nil, denied
	}
	return stream, err
}

// refusedConfig explains why the broker did not let a stream be made or changed.
func (p *Publisher) refusedConfig(ctx context.Context, l *session, done string, want jetstream.StreamConfig, err error) error {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || api.Code >= 500 {
		return explain(want.Name, err)
	}
	// The server calls this the client's error (400), and yet it passes.
	if api.ErrorCode == jserr.ClusterNoPeers {
		return fmt.Errorf("the stream %s cannot be %s yet: the broker says %q; %d servers of its cluster have to be there for that (RELAY_STREAM_REPLICAS)", want.Name, done, api.Description, want.Replicas)
	}
	if api.ErrorCode == jserr.StreamSubjectOverlap {
		return p.overlapping(ctx, l, done, want)
	}
	return &StreamConfigError{
		Stream: want.Name, Fatal: true,
		Problem: fmt.Sprintf("cannot be %s: the broker says %q", done, api.Description),
		Hint:    fmt.Sprintf("it was to have the subjects %q, %d replicas, a window of %s, max_age %s and max_bytes %d", want.Subjects, want.Replicas, want.Duplicates, want.MaxAge, want.MaxBytes),
	}
}

// overlapping names the streams that have a stream's subjects already, if this user
// may ask for them.
func (p *Publisher) overlapping(ctx context.Context, l *session, done string, want jetstream.StreamConfig) *StreamConfigError {
	unfit := &StreamConfigError{
		Stream: want.Name, Fatal: true,
		Problem: fmt.Sprintf("cannot be %s: another stream has subjects that overlap with %q", done, want.Subjects),
		Hint:    "find it ('nats stream ls'), and take those subjects away from it, or choose another RELAY_SUBJECT_PREFIX",
	}
	ctx, cancel := p.broker.permissions.Guard(ctx, jsapi.Prefix(p.cfg.Domain)+"STREAM.LIST")
	defer cancel(nil)
	var others []string
	for _, subject := range want.Subjects {
		list := l.js.ListStreams(ctx, jetstream.WithStreamListSubject(subject))
		for info := range list.Info() {
			if info.Config.Name != want.Name {
				others = append(others, fmt.Sprintf("%s (%q)", info.Config.Name, info.Config.Subjects))
			}
		}
		if list.Err() != nil {
			return unfit
		}
	}
	if len(others) > 0 {
		unfit.Problem = fmt.Sprintf("cannot be %s: its subjects %q overlap with those of the stream %s", done, want.Subjects, strings.Join(others, " and "))
		unfit.Hint = "take those subjects away from that stream, or choose another RELAY_SUBJECT_PREFIX"
	}
	return unfit
}

// explain words an error of the broker that may pass.
func explain(stream string, err error) error {
	switch {
	case is[*broker.PermissionError](err):
		return fmt.Errorf("the stream %s cannot be looked after: %w", stream, err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("the broker has no JetStream for this account: %w; start it with JetStream enabled ('nats-server -js'), enable it for the account, or name in NATS_JS_DOMAIN the domain that has it", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("the broker did not answer about the stream %s within %s: it is stalled or without quorum", stream, checkTimeout)
	default:
		return fmt.Errorf("the broker cannot tell about the stream %s: %w", stream, err)
	}
}

// subjectMatches reports whether a subject filter takes a subject, or all that
// another filter takes.
func subjectMatches(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range f {
		switch {
		case token == ">":
			return len(s) > i
		case i >= len(s), s[i] == ">":
			return false
		case token != "*" && token != s[i]:
			return false
		}
	}
	return len(f) == len(s)
}

// subjectsOverlap reports whether a subject can match both filters.
func subjectsOverlap(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		switch {
		case x[i] == ">", y[i] == ">":
			return true
		case x[i] != "*" && y[i] != "*" && x[i] != y[i]:
			return false
		}
	}
	return len(x) == len(y)
}
