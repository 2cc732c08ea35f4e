package archive

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

// file has one file of a task in the target, and reports whether this program has put it there.
// Its error is a *[download.Error], or that of ctx. It waits while the target cannot store.
func (a *Archiver) file(ctx context.Context, m *message, n int, address string) (file schema.ArchivedFile, isNew bool, err error) {
	key := target.Key(m.task.ID, n, address)
	for {
		leave, err := a.gate.enter(ctx)
		if err != nil {
			return file, false, err
		}
		object, step, err := a.transfer(ctx, m, key, address)
		failure, isOrigin := errors.AsType[*download.Error](err)
		isTarget := err != nil && !isOrigin && ctx.Err() == nil
		if !isTarget {
			leave(nil, step == stepStored)
		} else {
			a.o.Metrics.Failure(telemetry.CauseTarget)
			leave(err, step == stepStored)
		}
		switch {
		case isTarget:
		case isOrigin:
			return file, false, failure
		case err != nil:
			return file, false, context.Cause(ctx)
		default:
			if isNew = step == stepStored; isNew {
				a.o.Metrics.File(object.Bytes, time.Until(m.expires))
			}
			return schema.ArchivedFile{URL: address, Location: a.o.Target.Location(key), Bytes: object.Bytes, MediaType: object.MediaType, SHA256: object.SHA256}, isNew, nil
		}
	}
}

// step is how far a transfer came, whether it went well there or not.
type step int

const (
	stepLooked step = iota // at what is there
	stepStored             // it was stored
)

// transfer brings a file from its address into the target, unless it is there.
func (a *Archiver) transfer(ctx context.Context, m *message, key, address string) (object target.Object, at step, err error) {
	there, err := a.o.Target.Stat(ctx, key)
	exists := err == nil
	if err != nil && !errors.Is(err, target.ErrNotFound) {
		return object, stepLooked, err
	}
	if exists && isKnown(m, there, address) {
		return there, stepLooked, nil
	}
	if exists {
		same, err := a.isSame(ctx, there, address)
		if failure, ok := errors.AsType[*download.Error](err); ok && failure.Reason == schema.ReasonGone {
			return there, stepLooked, nil // an earlier run has had it
		}
		if err != nil || same {
			return there, stepLooked, err
		}
	}
	src, err := a.open(ctx, address)
	if err != nil {
		return object, stepLooked, err
	}
	defer src.file.Close()
	head, err := src.Peek(target.SniffBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return object, stepLooked, err
	}
	object, err = a.o.Target.Put(ctx, key, src, target.Meta{Source: address, MediaType: target.Sniff(head)})
	return object, stepStored, err
}

// isKnown reports whether a file that is there need not be compared with what its address has
// now: it is from there. Where the target does not keep that, files of an event that comes
// once more are its own, since they are never there in part.
func isKnown(m *message, there target.Object, address string) bool {
	if there.IsFrom != nil {
		return there.IsFrom(address)
	}
	return m.meta.NumDelivered > 1
}

// isSame reports whether an address has the file that is there already.
func (a *Archiver) isSame(ctx context.Context, there target.Object, address string) (bool, error) {
	src, err := a.open(ctx, address)
	if err != nil {
		return false, err
	}
	defer src.file.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, src); err != nil {
		return false, err
	}
	return hex.EncodeToString(digest.Sum(nil)) == there.SHA256, nil
}

// source is a file on its way whose beginning can be looked at.
type source struct {
	*bufio.Reader
	file *download.File
}

func (a *Archiver) open(ctx context.Context, address string) (source, error) {
	file, err := a.o.Client.Open(ctx, address)
	if err != nil {
		return source{}, err
	}
	return source{bufio.NewReaderSize(file, max(target.SniffBytes, 32<<10)), file}, nil
}
