package receiver

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

// checkContent refuses what is declared to be no JSON, or to be compressed: a
// small body that unfolds into a large one would go around the size limit.
func checkContent(h http.Header) (answer, bool) {
	if len(h["Content-Encoding"]) > 0 {
		return problem(unsupportedType, "the body has a Content-Encoding, and is only taken without one"), false
	}
	values := h["Content-Type"]
	if len(values) == 0 || len(values) == 1 && (values[0] == "application/json" || values[0] == "") {
		return answer{}, true
	}
	media, parameters, err := mime.ParseMediaType(values[0])
	isJSON := media == "application/json" || media == "text/json" ||
		strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
	if err != nil || len(values) > 1 || !isJSON {
		return problem(unsupportedType, "the Content-Type is not that of JSON: application/json was expected"), false
	}
	if charset := strings.ToLower(parameters["charset"]); charset != "" && charset != "utf-8" && charset != "us-ascii" {
		return problem(unsupportedType, "the Content-Type names another charset than utf-8"), false
	}
	return answer{}, true
}

// firstRead is the memory that a body gets before anything of it has come. Most
// webhooks fit into it, and a Content-Length that is not kept costs no more.
const firstRead = 4 << 10

// counted is a body that counts among those in flight as it comes, however long
// that takes.
type counted struct {
	from     io.Reader
	inFlight *atomic.Int64
	size     int64
}

// Read is part of io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.size += int64(n)
	c.inFlight.Add(int64(n))
	return n, err
}

// forget counts it no longer.
func (c *counted) forget() { c.inFlight.Add(-c.size) }

// readBody reads the whole body, up to the limit. A declared size below zero is
// not known.
func (rc *Receiver) readBody(from io.Reader, declared int64) ([]byte, answer, bool) {
	limit := rc.cfg.MaxBodyBytes
	tooLarge := func() ([]byte, answer, bool) {
		return nil, problem(bodyTooLarge, fmt.Sprintf("at most %d bytes are taken; RELAY_MAX_BODY_BYTES sets the limit", limit)), false
	}
	if declared > limit {
		return tooLarge()
	}
	body, err := readUpTo(from, declared, limit)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, problem(bodyTooSlow, fmt.Sprintf("the whole request must come within %s", rc.readTimeout())), false
	case err != nil:
		return nil, problem(bodyIncomplete, "the connection ended, or the chunks were malformed, in the middle of the body"), false
	case int64(len(body)) > limit:
		return tooLarge()
	}
	return body, answer{}, true
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
