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
// is done for it by sending slowly. The time is over before anything long begins: a deadline
// that passes later would end the request's context.
func (g *Guard) readBody(w http.ResponseWriter, r *http.Request) *refusal {
	if r.ContentLength == 0 {
		return nil
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(g.bodyTime)) // fails where nothing is read from a connection
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	_ = control.SetReadDeadline(time.Time{})
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
