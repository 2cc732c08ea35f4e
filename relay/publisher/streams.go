package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/jscode"
	"github.com/apixo-relay/apixo-relay/schema"
)

// UnfitError says that a stream is not there, or not as the relay needs it, and
// that waiting will not mend it.
type UnfitError struct {
	Stream string
	// Problem says what is wrong, Hint what to do.
	Problem, Hint string
	// Missing: there is no such stream, or it leaves the relay's subjects out.
	Missing bool
}

// Error names the stream, the problem and the hint.
func (e *UnfitError) Error() string {
	return fmt.Sprintf("the stream %s %s; %s", e.Stream, e.Problem, e.Hint)
}

// Wanted are the streams as the relay makes them: that of the events, and the
// quarantine.
func Wanted(cfg config.Stream) (events, quarantine jetstream.StreamConfig) {
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
		// Reading single messages goes past the stream's leader.
		AllowDirect: true,
		// Webhooks that wait together can share one fsync.
		AllowAtomicPublish: true,
	}
	quarantine = events
	quarantine.Name, quarantine.Subjects = cfg.Quarantine, []string{schema.QuarantineSubjects(cfg.Prefix)}
	quarantine.Description = "Webhooks that could not become events, byte for byte."
	return events, quarantine
}

// Required is the error of a stream that does not exist although the policy leaves
// making it to somebody else.
func Required(want jetstream.StreamConfig) *UnfitError {
	return &UnfitError{
		Stream: want.Name, Missing: true,
		Problem: "does not exist, and RELAY_STREAM_POLICY=require leaves making it to you",
		Hint:    "make it with the subject " + want.Subjects[0] + ", or set RELAY_STREAM_POLICY=create",
	}
}

// checkStream returns the stream as it is in the end. It changes an existing one
// only if the policy says so and settle is true.
func (p *Publisher) checkStream(ctx context.Context, l *link, want jetstream.StreamConfig, settle bool) (jetstream.Stream, error) {
	stream, err := p.ask(ctx, "INFO", want.Name, func(ctx context.Context) (jetstream.Stream, error) { return l.js.Stream(ctx, want.Name) })
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && p.cfg.Policy == config.PolicyRequire:
		return nil, Required(want)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		stream, err = p.ask(ctx, "CREATE", want.Name, func(ctx context.Context) (jetstream.Stream, error) { return l.js.CreateStream(ctx, want) })
		if err != nil {
			return nil, refusedConfig("make", want, err)
		}
		p.log.Info("made the stream", "stream", want.Name, "subjects", want.Subjects, "replicas", want.Replicas, "window", want.Duplicates)
	case err != nil:
		return nil, explain(want.Name, err)
	case p.cfg.Policy == config.PolicyUpdate && settle:
		changed := merged(stream.CachedInfo().Config, want)
		stream, err = p.ask(ctx, "UPDATE", want.Name, func(ctx context.Context) (jetstream.Stream, error) { return l.js.UpdateStream(ctx, changed) })
		if err != nil {
			return nil, refusedConfig("change", want, err)
		}
	}
	// A server that is left over still describes a stream that cannot store.
	if cluster := stream.CachedInfo().Cluster; cluster != nil && cluster.Leader == "" {
		return nil, fmt.Errorf("the stream %s has no leader: too few of its %d servers are there", want.Name, stream.CachedInfo().Config.Replicas)
	}
	return stream, p.fits(stream.CachedInfo(), want, l)
}

// ask puts a question about a stream to the broker, or returns a [DeniedError].
func (p *Publisher) ask(ctx context.Context, verb, name string, question func(context.Context) (jetstream.Stream, error)) (jetstream.Stream, error) {
	ctx, answered := p.denials.asking(ctx, jsapi.Prefix(p.cfg.Domain)+"STREAM."+verb+"."+name)
	defer answered()
	stream, err := question(ctx)
	var denied *DeniedError
	if err != nil && errors.As(context.Cause(ctx), &denied) {
		return nil, denied
	}
	return stream, err
}

// merged is an existing configuration with what the relay's settings say. What
// they do not speak of, placement and metadata for instance, stays.
func merged(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	have.Description = want.Description
	have.Subjects = want.Subjects
	have.Replicas = want.Replicas
	have.MaxAge = want.MaxAge
	have.MaxBytes = want.MaxBytes
	have.Duplicates = want.Duplicates
	have.Discard = want.Discard
	have.AllowDirect = want.AllowDirect
	have.AllowAtomicPublish = want.AllowAtomicPublish
	return have
}

// fits returns an [UnfitError] if a stream makes it impossible to keep the relay's
// promises.
func (p *Publisher) fits(info *jetstream.StreamInfo, want jetstream.StreamConfig, l *link) error {
	for _, f := range Inspect(info, want, p.maxSize, l.conn.MaxPayload()) {
		if f.Unfit {
			return &UnfitError{Stream: info.Config.Name, Problem: f.Problem, Hint: f.Hint, Missing: f.Missing}
		}
	}
	return nil
}

// warn tells the log what about a stream weakens the relay's promises.
func (p *Publisher) warn(info *jetstream.StreamInfo, want jetstream.StreamConfig) {
	for _, f := range weaknesses(info, want) {
		p.log.Warn("the stream "+info.Config.Name+" "+f.Problem, "do", f.Hint)
	}
}

// refusedConfig explains why the broker did not make or change a stream.
func refusedConfig(verb string, want jetstream.StreamConfig, err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.Code >= 500 {
		return explain(want.Name, err)
	}
	done := map[string]string{"make": "made", "change": "changed"}[verb]
	// The server calls this the client's error (400), and yet it passes.
	if api.ErrorCode == jscode.NoPeers {
		return fmt.Errorf("the stream %s cannot be %s yet: the broker says %q; %d servers of its cluster have to be there for that (RELAY_STREAM_REPLICAS)", want.Name, done, api.Description, want.Replicas)
	}
	return &UnfitError{
		Stream:  want.Name,
		Problem: fmt.Sprintf("cannot be %s: the broker says %q", done, api.Description),
		Hint:    fmt.Sprintf("it was to have the subject %s, %d replicas, a window of %s, max_age %s and max_bytes %d", want.Subjects[0], want.Replicas, want.Duplicates, want.MaxAge, want.MaxBytes),
	}
}

// explain words an error of the broker that may pass.
func explain(stream string, err error) error {
	var denied *DeniedError
	switch {
	case errors.As(err, &denied):
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
