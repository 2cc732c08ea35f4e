package check

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// archiveConsumer is the durable consumer of 'apixo-relay archive', unless it has been given
	// another name.
	archiveConsumer = "apixo-archive"
	// archiveLate and archiveExpiring are ages of the oldest event whose files are not safe.
	// Their addresses expire at 24 hours. The alerts have the same.
	archiveLate     = 12 * time.Hour
	archiveExpiring = 20 * time.Hour
)

// archive tells how far behind the archive is. Where none is used it says nothing.
func (x *runner) archive(ctx context.Context, a *requester, found *checkList, events *target) {
	if events.info == nil || events.info.State.Consumers == 0 {
		return
	}
	var consumer jetstream.ConsumerInfo
	ask := "CONSUMER.INFO." + events.want.Name + "." + archiveConsumer
	err := a.api(ctx, ask, &consumer)
	switch {
	case apiCode(err) == jetstream.JSErrCodeConsumerNotFound:
		return
	case err != nil:
		found.skip(x.unasked(err, ask, "the consumer "+archiveConsumer), Archive)
		return
	}
	x.archiveBacklog(ctx, a, found, events, &consumer)
	x.archiveStream(ctx, a, found)
}

// unasked says why the broker did not tell about something.
func (x *runner) unasked(err error, subject, about string) string {
	if isDenial(err) {
		return "whether there is " + about + " this user may not ask: allow publishing to " + jsapi.Prefix(x.cfg.Stream.Domain) + subject + " in its permissions"
	}
	return fmt.Sprintf("the broker does not tell about %s: %v", about, err)
}

// archiveBacklog tells how many events wait, and since when.
func (x *runner) archiveBacklog(ctx context.Context, a *requester, found *checkList, events *target, consumer *jetstream.ConsumerInfo) {
	waiting := consumer.NumPending + uint64(consumer.NumAckPending)
	if waiting == 0 {
		found.ok(Archive, "the files of all results are archived, or are known to be gone")
		return
	}
	fact := text.Count(waiting) + " events wait for the archive"
	if waiting == 1 {
		fact = "1 event waits for the archive"
	}
	if consumer.NumWaiting == 0 && consumer.NumAckPending == 0 {
		fact += ", which does not ask for them now"
	}
	oldest, known := x.oldestAfter(ctx, a, events, consumer)
	if !known {
		found.ok(Archive, "%s; how old they are is not known", fact)
		return
	}
	fact += fmt.Sprintf("; the oldest came %s ago, and addresses expire after 24 hours", oldest.Truncate(time.Second))
	const remedy = "see that 'apixo-relay archive' runs, and why it does not store, in its log; several instances share the work"
	switch {
	case oldest > archiveExpiring:
		found.fail(Archive, remedy, "%s", fact)
	case oldest > archiveLate:
		found.warn(Archive, remedy, "%s", fact)
	default:
		found.ok(Archive, "%s", fact)
	}
}

// oldestAfter is the age of the oldest event that a consumer has not acknowledged.
func (x *runner) oldestAfter(ctx context.Context, a *requester, events *target, consumer *jetstream.ConsumerInfo) (age time.Duration, known bool) {
	question, err := json.Marshal(map[string]any{
		"seq": consumer.AckFloor.Stream + 1, "next_by_subj": schema.TaskSubject(x.cfg.Stream.Prefix, schema.StateSuccess),
	})
	if err != nil {
		return 0, false
	}
	reply, err := a.request(ctx, &nats.Msg{Subject: jsapi.MessageSubject(x.cfg.Stream.Domain, events.want.Name), Data: question})
	if err != nil {
		return 0, false
	}
	msg, err := jsapi.ParseMessage(reply.Data)
	if err != nil {
		return 0, false
	}
	return max(0, x.Now().Sub(msg.Time)), true
}

// archiveStream tells whether the stream is there in which the archive tells what it has stored.
func (x *runner) archiveStream(ctx context.Context, a *requester, found *checkList) {
	const name = schema.DefaultArchive
	var info jetstream.StreamInfo
	ask := "STREAM.INFO." + name
	err := a.api(ctx, ask, &info)
	switch {
	case err == nil:
		found.ok(Archive, "%s has told of files %s times", name, text.Count(info.State.Msgs))
	case apiCode(err) == jetstream.JSErrCodeStreamNotFound && x.cfg.Stream.Policy == config.PolicyRequire:
		found.fail(Archive, "make it, with the subject "+schema.ArchiveSubjects(x.cfg.Stream.Prefix), "there is no stream %s, and RELAY_STREAM_POLICY=require leaves making it to you: nothing is archived", name)
	case apiCode(err) == jetstream.JSErrCodeStreamNotFound:
		found.warn(Archive, "start 'apixo-relay archive' anew, which makes it", "there is no stream %s: where files are is not known", name)
	default:
		found.skip(x.unasked(err, ask, "the stream "+name), Archive)
	}
}
