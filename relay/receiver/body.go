package receiver

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
)

// firstRead is the memory that a body gets before anything of it has come. Most
// webhooks fit into it, and a Content-Length that is not kept costs no more.
const firstRead = 4 << 10

// countingReader is a body that counts among those in flight as it comes, however long
// that takes.
type countingReader struct {
	from     io.Reader
	inFlight *atomic.Int64
	size     int64
}

// Read implements [io.Reader].
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.size += int64(n)
	c.inFlight.Add(int64(n))
	return n, err
}

// release counts it no longer.
func (c *countingReader) release() { c.inFlight.Add(-c.size) }

// readBody reads the whole body, up to the limit. A declared size below zero is
// not known. An error is a [*problem].
func (rc *Receiver) readBody(from io.Reader, declared int64) ([]byte, error) {
	limit := rc.cfg.MaxBodyBytes
	body, err := []byte(nil), error(nil)
	if declared <= limit {
		body, err = readUpTo(from, declared, limit)
	}
	switch {
	case declared > limit, int64(len(body)) > limit:
		return nil, bodyTooLarge.with("at most %d bytes are taken; RELAY_MAX_BODY_BYTES sets the limit", limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, bodyTooSlow.with("the whole request must come within %s", rc.readTimeout())
	case err != nil:
		return nil, bodyIncomplete
	}
	return body, nil
}

// readUpTo reads to the end, or to one byte more than the limit. Memory follows
// what has come, by doubling, so that a sender never makes the relay hold more
// than twice what it has sent, and a whole body holds no more than its size. A
// declared size below zero is not known; another must be within the limit.
func readUpTo(r io.Reader, declared, limit int64) ([]byte, error) {
	most := limit + 1
	if declared >= 0 {
		most = declared + 1 // the last byte is room for finding the end
	}
	buf := make([]byte, 0, min(most, firstRead))
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, err
		case int64(len(buf)) == most:
			return buf, nil
		case len(buf) == cap(buf):
			larger := make([]byte, len(buf), min(most, 2*int64(cap(buf))))
			copy(larger, buf)
			buf = larger
		}
	}
}
