package expected

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// markerTTL is how long the bucket keeps the marker of a removed key, so that those who
	// watch it notice: longer than a connection is away.
	markerTTL = time.Hour
	// streamPrefix begins the name of the stream that keeps a bucket (NATS ADR-8).
	streamPrefix = "KV_"
	bucketText   = "APIXO tasks that are expected to end: see the schema 'expected' of apixo-relay"
)

// StreamName returns the name of the stream that keeps a bucket.
func StreamName(bucket string) string { return streamPrefix + bucket }

// Subjects returns the subjects of all keys of a bucket.
func Subjects(bucket string) string { return "$KV." + bucket + ".>" }

// DeletionSubject returns where the broker tells that a bucket was deleted.
func DeletionSubject(bucket string) string {
	return "$JS.EVENT.ADVISORY.STREAM.DELETED." + StreamName(bucket)
}

// MakeCommand returns the command that makes a bucket, in quotes.
func MakeCommand(want jetstream.KeyValueConfig) string {
	return fmt.Sprintf("'nats kv add %s --replicas %d --marker-ttl %s'", want.Bucket, want.Replicas, want.LimitMarkerTTL)
}

// ErrBucketMissing is returned for a bucket that does not exist although the policy leaves
// making it to somebody else.
var ErrBucketMissing = errors.New("the bucket of announced tasks does not exist")

// Bucket is the key-value bucket of announced tasks.
type Bucket struct {
	js jetstream.JetStream
	kv jetstream.KeyValue
	// prefix begins the subjects of keys in another JetStream domain.
	prefix string
	// Config is that of the bucket as it was opened, and Made reports whether it was made
	// then.
	Config jetstream.KeyValueConfig
	Made   bool
}

// DesiredBucket returns the bucket that a configuration asks for.
func DesiredBucket(cfg config.Config) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: cfg.Expect.Bucket, Description: bucketText, History: 1, Storage: jetstream.FileStorage,
		Replicas: cfg.Stream.Replicas, LimitMarkerTTL: markerTTL,
	}
}

// OpenBucket opens the bucket. It makes a missing one and changes an existing one as
// RELAY_STREAM_POLICY has it; changed is told the differences, and may be nil.
func OpenBucket(ctx context.Context, js jetstream.JetStream, cfg config.Config, changed func(before, after jetstream.KeyValueConfig)) (*Bucket, error) {
	want, policy := DesiredBucket(cfg), cfg.Stream.Policy
	kv, err := js.KeyValue(ctx, want.Bucket)
	made := false
	switch {
	case errors.Is(err, jetstream.ErrBucketNotFound) && policy == config.PolicyRequire:
		return nil, fmt.Errorf("%w: RELAY_STREAM_POLICY=require leaves making %s to you (%s)", ErrBucketMissing, want.Bucket, MakeCommand(want))
	case errors.Is(err, jetstream.ErrBucketNotFound):
		made = true
		if kv, err = js.CreateKeyValue(ctx, want); errors.Is(err, jetstream.ErrLimitMarkerTTLNotSupported) {
			want.LimitMarkerTTL = 0 // nats-server before 2.11
			kv, err = js.CreateKeyValue(ctx, want)
		}
		if errors.Is(err, jetstream.ErrBucketExists) { // made by another relay just now
			made = false
			kv, err = js.KeyValue(ctx, want.Bucket)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the bucket %s cannot be opened: %w", want.Bucket, err)
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("the broker does not tell about the bucket %s: %w", want.Bucket, err)
	}
	b := &Bucket{js: js, kv: kv, prefix: keyPrefix(cfg.Stream.Domain), Config: status.Config(), Made: made}
	if policy == config.PolicyUpdate && !made {
		return b, b.update(ctx, js, want, cfg.Stream.Given.Replicas, changed)
	}
	return b, nil
}

func keyPrefix(domain string) string {
	if domain == "" {
		return ""
	}
	return jsapi.Prefix(domain)
}

// update brings the bucket to what is wanted, and takes nothing away.
func (b *Bucket) update(ctx context.Context, js jetstream.JetStream, want jetstream.KeyValueConfig, replicasGiven bool, changed func(before, after jetstream.KeyValueConfig)) error {
	after := b.Config
	if want.Replicas > after.Replicas || replicasGiven {
		after.Replicas = want.Replicas
	}
	if after.LimitMarkerTTL == 0 {
		after.LimitMarkerTTL = want.LimitMarkerTTL
	}
	after.TTL = 0
	if after.Replicas == b.Config.Replicas && after.LimitMarkerTTL == b.Config.LimitMarkerTTL && after.TTL == b.Config.TTL {
		return nil
	}
	kv, err := js.UpdateKeyValue(ctx, after)
	if errors.Is(err, jetstream.ErrLimitMarkerTTLNotSupported) {
		if after.LimitMarkerTTL = 0; after.Replicas == b.Config.Replicas && after.TTL == b.Config.TTL {
			return nil
		}
		kv, err = js.UpdateKeyValue(ctx, after)
	}
	if err != nil {
		return fmt.Errorf("the bucket %s cannot be changed: %w", want.Bucket, err)
	}
	if changed != nil {
		changed(b.Config, after)
	}
	b.kv, b.Config = kv, after
	return nil
}

// Weaknesses returns what about a bucket keeps announced tasks from being looked after, in
// words.
func Weaknesses(bucket, want jetstream.KeyValueConfig) (all []string) {
	weak := func(is bool, format string, args ...any) {
		if is {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	weak(bucket.TTL > 0, "forgets announced tasks after %s (its TTL), without a word: remove that", bucket.TTL)
	weak(bucket.Storage == jetstream.MemoryStorage, "is kept in memory, and a restart of its server forgets announced tasks: make it with file storage")
	weak(bucket.Replicas < want.Replicas, "has %d replicas, and RELAY_STREAM_REPLICAS asks for %d", bucket.Replicas, want.Replicas)
	weak(bucket.Mirror != nil, "is a mirror, into which nobody can announce: name its origin in RELAY_EXPECT_BUCKET")
	return all
}

// Announce puts a task into the bucket, unless that says the same of it already. It returns
// the revision of its key, and whether it was there; no revision, if the task has ended just
// now.
func (b *Bucket) Announce(ctx context.Context, id string, task schema.ExpectedTask) (revision uint64, already bool, err error) {
	key, value := schema.ExpectedKey(id), encode(schema.ExpectedTask{Model: task.Model, Attributes: task.Attributes})
	revision, err = b.kv.Create(ctx, key, value)
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return revision, false, err
	}
	entry, err := b.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, false, nil
	} else if err != nil {
		return 0, false, err
	}
	if there, err := schema.ParseExpectedTask(entry.Value()); err == nil && there.Equal(task) {
		return entry.Revision(), true, nil
	}
	// Whoever announces it again knows better, such as which model it is of.
	revision, err = b.kv.Update(ctx, key, value, entry.Revision())
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		revision, err = b.kv.Put(ctx, key, value)
	}
	return revision, true, err
}

// Outstanding is an announced task in the bucket.
type Outstanding struct {
	schema.ExpectedTask
	ID string
	// Err is why the announcement cannot be used; then ID is its key.
	Err error
}

// List returns all tasks in the bucket, in the order in which they were last changed.
func (b *Bucket) List(ctx context.Context) (all []Outstanding, err error) {
	watcher, err := b.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer func() { _ = watcher.Stop() }()
	for {
		select {
		case entry, ok := <-watcher.Updates():
			if !ok {
				return nil, errors.New("the connection was closed while the bucket was read")
			}
			if entry == nil {
				return all, nil
			}
			all = append(all, outstanding(entry))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Get returns one task in the bucket. The error is [jetstream.ErrKeyNotFound] if it is not there.
func (b *Bucket) Get(ctx context.Context, id string) (Outstanding, error) {
	entry, err := b.kv.Get(ctx, schema.ExpectedKey(id))
	if err != nil {
		return Outstanding{}, err
	}
	return outstanding(entry), nil
}

func outstanding(entry jetstream.KeyValueEntry) Outstanding {
	o := Outstanding{ID: entry.Key()}
	if o.ExpectedTask, o.Err = schema.ParseExpectedTask(entry.Value()); o.Err == nil {
		if id, err := schema.TaskIDOfKey(entry.Key()); err == nil {
			o.ID = id
		} else {
			o.Err = err
		}
	}
	if o.Announced.IsZero() {
		o.Announced = entry.Created()
	}
	return o
}

// updateKey changes a key if it is at a revision still; the error is
// [jetstream.ErrKeyRevisionMismatch] if not.
func (b *Bucket) updateKey(ctx context.Context, key string, task schema.ExpectedTask, revision uint64) (uint64, error) {
	return b.kv.Update(ctx, key, encode(task), revision)
}

// remove removes a key if it is at a revision still; the error is
// [jetstream.ErrKeyRevisionMismatch] if not.
func (b *Bucket) remove(ctx context.Context, key string, revision uint64) error {
	ack, err := b.removeAsync(key, revision)
	if err != nil {
		return err
	}
	return awaitRemoval(ctx, ack)
}

// removeAsync is [Bucket.remove] that does not wait: the keys of many tasks go together,
// which costs a third of what each by itself does. It publishes what the key-value client
// does (NATS ADR-8), which has no such call, and takes keys that this does not take.
func (b *Bucket) removeAsync(key string, revision uint64) (jetstream.PubAckFuture, error) {
	header := nats.Header{
		"KV-Operation": {"PURGE"}, jetstream.MsgRollup: {jetstream.MsgRollupSubject},
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(revision, 10)},
	}
	if ttl := b.Config.LimitMarkerTTL; ttl > 0 {
		header[jetstream.MsgTTLHeader] = []string{ttl.String()}
	}
	subject := b.prefix + strings.TrimSuffix(Subjects(b.Config.Bucket), ">") + key
	return b.js.PublishMsgAsync(&nats.Msg{Subject: subject, Header: header}, jetstream.WithRetryAttempts(0))
}

func awaitRemoval(ctx context.Context, ack jetstream.PubAckFuture) (err error) {
	select {
	case <-ack.Ok():
		return nil
	case err = <-ack.Err():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return jetstream.ErrKeyRevisionMismatch
	}
	return err
}

// forgetMarkers removes the markers of keys that are gone for so long, where the bucket keeps
// them for ever.
func (b *Bucket) forgetMarkers(ctx context.Context, age time.Duration) error {
	return b.kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(age))
}

// encode returns the value of a task.
func encode(task schema.ExpectedTask) []byte {
	value, err := json.Marshal(task)
	if err != nil {
		panic(err) // texts, numbers and times of this age always encode
	}
	return value
}
