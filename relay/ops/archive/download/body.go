package download

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
)

// minProgress is how much has to come within Options.Silence: what sends less could hold a
// place for ever.
const minProgress = 1 << 10

var errSilence = errors.New("the origin has fallen silent")

// body reads an answer, and ends it when it is too long, too slow, or cut off. It is for one
// goroutine, as files are.
type body struct {
	trip   *trip
	ctx    context.Context // Open's
	hop    context.Context // the request's, which cancel ends
	cancel context.CancelCauseFunc
	conn   net.Conn
	source io.ReadCloser
	// endsWithConn: nothing but the end of its connection says where the body ends.
	endsWithConn bool
	limit        int64

	read int64
	err  error // what ended it

	// What somebody waited for in Read, since the last time that enough had come.
	silence  time.Duration
	waited   time.Duration
	progress int
	timer    *time.Timer
}

// gotConn learns by which connection the answer comes.
func (b *body) gotConn(info httptrace.GotConnInfo) { b.conn = info.Conn }

// begin takes an answer.
func (b *body) begin(response *http.Response) {
	b.source = response.Body
	b.limit = math.MaxInt64
	b.endsWithConn = response.ProtoMajor == 1 && response.ContentLength < 0 && len(response.TransferEncoding) == 0
	b.timer = time.AfterFunc(b.silence, func() { b.cancel(errSilence) })
	b.timer.Stop()
}

// Read reads on. Time that passes between two calls does not count as silence: then it is the
// reader that is slow.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	began := time.Now()
	// Nothing is left of it where pieces have come in time, and too few: then it ends at once.
	b.timer.Reset(b.silence - b.waited)
	n, err := b.source.Read(p)
	b.timer.Stop()
	b.waited += time.Since(began)
	b.progress += n
	if b.progress >= minProgress {
		b.waited, b.progress = 0, 0
	}
	b.read += int64(n)
	switch over := b.read - b.limit; {
	case over > 0:
		n -= int(over)
		b.end(b.trip.fault(tooLarge(fmt.Sprintf("more than %d bytes have come", b.limit), b.limit)))
	case err != nil:
		b.end(b.ending(err))
	}
	return n, b.err
}

// end ends the reading.
func (b *body) end(err error) {
	b.err = err
	b.cancel(nil)
	b.source.Close()
}

// ending makes what Read returns of the source's end.
func (b *body) ending(err error) error {
	switch {
	case err == io.EOF && !b.isCutOff():
		return io.EOF
	case b.ctx.Err() != nil:
		return context.Cause(b.ctx)
	case context.Cause(b.hop) == errSilence:
		return b.trip.fault(temporary("the origin has sent less than %d bytes within %s, after %d", minProgress, b.silence, b.read))
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
		return b.trip.fault(temporary("cut off after %d bytes", b.read))
	}
	return b.trip.fault(temporary("broken off after %d bytes: %s", b.read, inWords(err)))
}

// isCutOff reports whether a body that ends with its connection has been ended by somebody
// else than its origin. crypto/tls takes the bare end of a connection for the end of what was
// sent; without TLS there is nothing by which to tell.
func (b *body) isCutOff() bool {
	secured, isTLS := b.conn.(*tls.Conn)
	if !b.endsWithConn || !isTLS {
		return false
	}
	conn, ok := secured.NetConn().(*watchedConn)
	return ok && conn.ended.Load()
}

// Close ends the reading, and the connection unless all was read.
func (b *body) Close() error {
	if b.err == nil {
		b.end(errClosed)
	}
	return nil
}

var errClosed = fmt.Errorf("the file is closed: %w", httpclient.ErrBrokenOff)
