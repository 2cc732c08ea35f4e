package access

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// maxBodyBytes is for forms. None has a file in it.
	maxBodyBytes = 64 << 10
	// bodyTimeout is for a slow line.
	bodyTimeout = 10 * time.Second
)

// readBody replaces a body by what has come of it, so that nobody holds a connection and what
// is done for it by sending slowly. The server takes the deadline away once the body is read:
// what is done for it may take longer.
func (g *Guard) readBody(w http.ResponseWriter, r *http.Request) *refusal {
	if r.ContentLength == 0 {
		return nil
	}
	// It fails where nothing is read from a connection.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(g.bodyTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err == nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		return nil
	}
	if _, isTooLarge := errors.AsType[*http.MaxBytesError](err); isTooLarge {
		return tooLarge
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return tooSlow
	}
	return cutShort
}
