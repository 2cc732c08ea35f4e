package target

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

func (t *objectStore) Put(ctx context.Context, key string, r io.Reader, meta Meta) (Object, error) {
	if t.readOnly {
		return Object{}, errReadOnly
	}
	s := newSource(ctx, r)
	info := jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{
			Name:     key,
			Metadata: map[string]string{sourceKey: sourceDigest(meta.Source), mediaTypeKey: meta.MediaType},
			Opts:     &jetstream.ObjectMetaOptions{ChunkSize: uint32(t.chunk)},
		},
		Bucket: t.bucket, NUID: nuid.Next(),
	}
	err := t.putChunks(ctx, &info, s)
	mayBeStored := false
	if err == nil {
		mayBeStored, err = t.putMeta(ctx, info, s.digest())
	}
	if err != nil {
		if !mayBeStored {
			t.purge(ctx, info.NUID)
		}
		return Object{}, err
	}
	return s.object(meta.MediaType), nil
}

// putChunks publishes one chunk after the other, so that memory is bounded here and in the
// broker. Each demands that the one before is the last of the object, so that none is missing
// and none there twice.
func (t *objectStore) putChunks(ctx context.Context, info *jetstream.ObjectInfo, s *source) error {
	p := make([]byte, t.chunk)
	last := uint64(0)
	for {
		n, end, err := s.fill(p)
		if err != nil {
			return err
		}
		if n > 0 {
			if last, err = t.publish(ctx, &nats.Msg{Subject: t.chunks(info.NUID), Data: p[:n]}, last); err != nil {
				return t.explain(ctx, "write", t.location(info.Name), err)
			}
			info.Chunks++
		}
		if end {
			info.Size = uint64(s.bytes)
			info.Digest = "SHA-256=" + base64.URLEncoding.EncodeToString(s.hash.Sum(nil))
			return nil
		}
	}
}

// publish stores a message if the last one of its subject has that sequence.
func (t *objectStore) publish(ctx context.Context, m *nats.Msg, last uint64) (sequence uint64, err error) {
	ctx, cancel := request(ctx)
	defer cancel()
	ack, err := t.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithExpectStream(t.streamName()))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// overtakenTries is how often another may store the same key meanwhile.
const overtakenTries = 10

// putMeta makes chunks an object, unless the same is there already. With an error it reports
// whether they may be one all the same: a broker that dies can have stored what it did not
// acknowledge.
func (t *objectStore) putMeta(ctx context.Context, info jetstream.ObjectInfo, digest string) (mayBeStored bool, err error) {
	info.ModTime = time.Now().UTC()
	data, err := json.Marshal(info)
	if err != nil {
		return false, fmt.Errorf("the object %s cannot be described: %w", info.Name, err)
	}
	for range overtakenTries {
		there, err := t.info(ctx, info.Name)
		if err != nil {
			return false, err
		}
		if !there.Deleted && there.digest() == digest {
			if whole, err := t.whole(ctx, there); err != nil {
				return false, err
			} else if whole {
				if there.NUID != info.NUID {
					t.purge(ctx, info.NUID)
				}
				return false, nil
			}
		}
		m := nats.NewMsg(t.meta(info.Name))
		m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
		m.Data = data
		_, err = t.publish(ctx, m, there.sequence)
		switch {
		case err == nil:
			if there.NUID != "" {
				t.purge(ctx, there.NUID)
			}
			return false, nil
		case !overtaken(err):
			_, isRefused := errors.AsType[*jetstream.APIError](err)
			return !isRefused, t.explain(ctx, "write", t.location(info.Name), err)
		}
	}
	return false, fmt.Errorf("the archive cannot write %s: others store it all the time; is an archive running with another durable and the same target?", t.location(info.Name))
}

func overtaken(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// purge removes chunks that are of no object, even when ctx has ended. What it cannot remove,
// Clean finds.
func (t *objectStore) purge(ctx context.Context, nuid string) {
	ctx, cancel := request(context.WithoutCancel(ctx))
	defer cancel()
	if err := t.stream.Purge(ctx, jetstream.WithPurgeSubject(t.chunks(nuid))); err != nil {
		t.log.Warn("parts of a file stay in the object store until it is cleaned", "bucket", t.bucket, "error", err)
	}
}
