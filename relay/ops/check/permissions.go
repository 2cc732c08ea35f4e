package check

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/jserr"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// nonexistentStream is what no stream is called. To a message that expects to be stored in it,
// JetStream says no before it looks at anything else of it: nothing is stored, and no
// id is remembered. So that this user may publish, that a stream takes the subject and
// that its word comes back are seen at once.
const nonexistentStream = "apixo-relay-check-stores-nothing"

// permissionProbe is something that the relay does, for which it needs a permission.
type permissionProbe struct {
	msg    *nats.Msg
	allow  string  // what is to be allowed, if that is more than the message's subject
	to     string  // what for
	of     *target // where it is about a message's way into a stream
	makes  *target // where it is about making one
	weak   bool    // without it the relay goes on, and says less
	hears  bool    // it is to be subscribed to
	answer *nats.Msg
	err    error
}

// permissionProbes are what the relay does to its streams, each as a question that has no
// effect.
func (x *runner) permissionProbes(events, quarantine, bucket *target) (needs []*permissionProbe) {
	prefix := x.cfg.Stream.Prefix
	for _, into := range []struct {
		subject string
		of      *target
	}{
		{schema.TaskSubject(prefix, schema.StateSuccess), events},
		{schema.TaskSubject(prefix, schema.StateFailed), events},
		{schema.RejectedSubject(prefix), quarantine},
		{schema.ConflictSubject(prefix), quarantine},
	} {
		msg := &nats.Msg{Subject: into.subject, Header: nats.Header{jetstream.ExpectedStreamHeader: {nonexistentStream}}}
		needs = append(needs, &permissionProbe{msg: msg, to: "store events", of: into.of})
	}
	for _, t := range []*target{events, quarantine} {
		// The server refuses a configuration without a name, whoever sends it.
		verb := func(verb, to string, makes *target) {
			needs = append(needs, &permissionProbe{msg: &nats.Msg{Subject: jsapi.Prefix(x.cfg.Stream.Domain) + "STREAM." + verb + "." + t.want.Name}, to: to, makes: makes})
		}
		switch {
		case t.isMissing() && x.cfg.Stream.Policy != config.PolicyRequire:
			verb("CREATE", "make the stream "+t.want.Name, t)
		case t.info != nil && x.cfg.Stream.Policy == config.PolicyUpdate:
			verb("UPDATE", "change the stream "+t.want.Name, nil)
		}
		needs = append(needs, &permissionProbe{msg: &nats.Msg{Subject: publisher.AdvisorySubject(t.want.Name)}, to: "notice at once that the stream " + t.want.Name + " is changed", hears: true})
	}
	needs = append(needs, &permissionProbe{
		// Where nothing ever is.
		msg: &nats.Msg{Subject: jsapi.MessageSubject(x.cfg.Stream.Domain, events.want.Name), Data: jsapi.MessageRequest(math.MaxUint64)},
		to:  "tell a repeat that contradicts a stored event, or whose event was removed, from one that does not", weak: true,
	})
	if bucket != nil {
		needs = append(needs, x.bucketProbes(bucket, quarantine)...)
	}
	return needs
}

// isRelay reports whether this user is to be held against what the relay does. Where it is
// not, that is told.
func (x *runner) isRelay(ctx context.Context, a *requester, found *checkList, storing *permissionProbe) bool {
	const elsewhere = "'apixo-relay check' with the relay's environment tries what the relay may do"
	switch x.User {
	case ReadingUser:
		found.skip("this user is to read and no more; "+elsewhere, Permissions)
		return false
	case AnyUser:
		if _, err := a.request(ctx, storing.msg); !isDenial(err) {
			return true
		}
		subject := storing.msg.Subject
		found.warn(Permissions, "if it is the relay's, allow publishing to "+subject+" in its permissions; else "+elsewhere,
			"this user may not publish to %s: it is not the relay's, or the relay cannot store events", subject)
		return false
	}
	return true
}

// isDenial reports whether an error is that this user may not do something.
func isDenial(err error) bool {
	denied, ok := isDenied(err)
	return ok && !denied.Subscribing
}

// permissions looks whether this user may do what the relay does, and whether what it
// sends gets into the streams.
func (x *runner) permissions(ctx context.Context, a *requester, found *checkList, events, quarantine, bucket *target) {
	before, unknown := len(*found), 0
	needs := x.permissionProbes(events, quarantine, bucket)
	if !x.isRelay(ctx, a, found, needs[0]) {
		needs = nil
	}
	var all sync.WaitGroup
	for _, n := range needs {
		all.Go(func() {
			if n.hears {
				n.err = a.subscribe(ctx, n.msg.Subject)
				return
			}
			n.answer, n.err = a.request(ctx, n.msg)
		})
	}
	all.Wait()
	for _, t := range []*target{events, quarantine, bucket} {
		if t != nil {
			needs = append(needs, &permissionProbe{
				msg: &nats.Msg{Subject: jsapi.Prefix(x.cfg.Stream.Domain) + "STREAM.INFO." + t.want.Name},
				to:  "look after the stream " + t.want.Name, err: t.err,
			})
		}
	}
	allow := func(what, subject string) string {
		return "allow " + what + " " + subject + " in this user's permissions"
	}
	for _, n := range needs {
		denied, isDenial := isDenied(n.err)
		subject := cmp.Or(n.allow, n.msg.Subject)
		switch {
		case isDenial && n.hears:
			found.warn(Permissions, allow("subscribing to", n.msg.Subject), "this user may not subscribe to %s: the relay cannot %s", n.msg.Subject, n.to)
		case isDenial && denied.Subscribing:
			inbox := inboxes(denied.Subject)
			found.fail(Permissions, allow("subscribing to", inbox), "this user may not subscribe to %s, so no answer of the broker reaches the relay", inbox)
			found.skip("no answer of the broker reaches this user", Stream, Quarantine, Expected)
			return
		case isDenial && n.weak:
			found.warn(Permissions, allow("publishing to", subject), "this user may not publish to %s: the relay cannot %s", subject, n.to)
		case isDenial:
			found.fail(Permissions, allow("publishing to", subject), "this user may not publish to %s: the relay cannot %s", subject, n.to)
			if n.makes != nil {
				n.makes.unmakeable = true
			}
		case errors.Is(n.err, errSilent):
			unknown++
		}
	}
	switch {
	case unknown > 0:
		found.warn(Permissions, "look after what else fails, and check again", "whether this user may do %d of %d things that the relay does is not known: the broker did not answer within %s", unknown, len(needs), text.Duration(a.timeout))
	case len(*found) == before:
		found.ok(Permissions, "this user may do all that the relay does: %d things were tried", len(needs))
	}
	for _, t := range []*target{events, quarantine} {
		x.canPublish(found, t, needs)
	}
	if bucket == nil {
		found.ok(Expected, "announced tasks are not looked after: RELAY_EXPECT is off")
		return
	}
	x.bucket(found, bucket, needs)
}

// inboxes is what has to be allowed for the replies to a client: the name of its inbox
// is another one each time.
func inboxes(subject string) string {
	prefix, _, _ := strings.Cut(subject, ".")
	return prefix + ".>"
}

// canPublish tells whether a stream is there and takes what the relay sends.
func (x *runner) canPublish(found *checkList, t *target, needs []*permissionProbe) {
	bad := len(*found)
	switch {
	case t.isMissing() && x.cfg.Stream.Policy == config.PolicyRequire:
		e := publisher.MissingStream(t.want)
		found.fail(t.name, e.Hint, "the stream %s %s", e.Stream, e.Problem)
	case t.info != nil:
		for _, issue := range x.validate(t) {
			if issue.Category == publisher.CategoryIntake {
				found.add(t.name, statusOf(issue, t.info), x.remedy(t, issue), "the stream %s %s", t.want.Name, issue.Problem)
			}
		}
	}
	for _, n := range needs {
		if n.of == t && len(*found) == bad {
			x.wasAccepted(found, t, n)
		}
	}
	if len(*found) > bad {
		return
	}
	switch info := t.info; {
	case t.unmakeable:
		found.skip("there is no stream "+t.want.Name+", and this user may not make it", t.name)
	case t.isMissing():
		found.ok(t.name, "there is no stream %s yet; the relay makes it when it starts", t.want.Name)
	case info == nil:
		found.skip("the broker does not tell about the stream "+t.want.Name, t.name)
	case info.State.Msgs == 0:
		found.ok(t.name, "%s takes %s, and is empty", t.want.Name, strings.Join(info.Config.Subjects, ", "))
	default:
		messages := "messages"
		if info.State.Msgs == 1 {
			messages = "message"
		}
		found.ok(t.name, "%s takes %s, and holds %s %s, %d to %d: %s", t.want.Name, strings.Join(info.Config.Subjects, ", "),
			text.Count(info.State.Msgs), messages, info.State.FirstSeq, info.State.LastSeq, size(info.State.Bytes))
	}
}

// wasAccepted tells what became of a message that no stream was to store.
func (x *runner) wasAccepted(found *checkList, t *target, n *permissionProbe) {
	var said struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
	}
	switch {
	case errors.Is(n.err, nats.ErrNoResponders) && t.isMissing():
	case errors.Is(n.err, nats.ErrNoResponders):
		found.fail(t.name, "look at the servers of its cluster, and at who else is asked for the subject", "nobody takes messages on %s: the stream %s has no leader now, or does not take the subject", n.msg.Subject, t.want.Name)
	case errors.Is(n.err, errSilent):
		found.fail(t.name, "look at the servers of its cluster and at their disks: a store that had a write error stays silent until its server restarts", "nothing is acknowledged on %s", n.msg.Subject)
	case n.err != nil:
		// Permissions, of which there is a word already.
		if _, denied := isDenied(n.err); !denied {
			found.fail(t.name, "look at the broker's log", "%s: %v", n.msg.Subject, n.err)
		}
	case json.Unmarshal(n.answer.Data, &said) != nil || said.Error == nil:
		found.fail(t.name, "look at who takes that subject besides the stream", "what answers on %s is no stream", n.msg.Subject)
	case said.Error.ErrorCode != jserr.StreamNotMatch:
		found.fail(t.name, "look at the stream's limits, the account's and the broker's", "the stream %s takes no messages on %s: the broker says %q", said.Stream, n.msg.Subject, said.Error.Description)
	case said.Stream != t.want.Name:
		found.fail(t.name, "take the subject away from it, or choose another "+t.setting, "another stream, %s, takes %s", said.Stream, n.msg.Subject)
	}
}
