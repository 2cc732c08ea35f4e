package target

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"
)

func (t *objectStore) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	s, err := t.info(ctx, key)
	if err != nil {
		return nil, err
	}
	if s.Deleted {
		return nil, fmt.Errorf("%s: %w", t.location(key), ErrNotFound)
	}
	return &chunkReader{ctx: ctx, store: t, object: s, key: key}, nil
}

// chunkReader asks for one chunk after the other. It needs no consumer, and nothing is left of
// it when it is closed.
type chunkReader struct {
	ctx    context.Context
	store  *objectStore
	object stored
	key    string
	next   uint64 // the sequence from which on the next chunk is
	read   uint32 // chunks
	data   []byte
}

// Read returns io.EOF only after all chunks.
func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.data) == 0 {
		if c.read == c.object.Chunks {
			return 0, io.EOF
		}
		if err := c.load(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.data)
	c.data = c.data[n:]
	return n, nil
}

func (c *chunkReader) load() error {
	ctx, cancel := request(c.ctx)
	defer cancel()
	m, err := c.store.stream.GetMsg(ctx, c.next, jetstream.WithGetMsgSubject(c.store.chunks(c.object.NUID)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("%s is no longer whole: %w", c.store.location(c.key), ErrNotFound)
	}
	if err != nil {
		return c.store.explain(ctx, "read", c.store.location(c.key), err)
	}
	c.next, c.data = m.Sequence+1, m.Data
	c.read++
	return nil
}

func (c *chunkReader) Close() error { return nil }
