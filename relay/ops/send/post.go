package send

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	// userAgent names the sender in the receiver's logs.
	userAgent = "apixo-relay-send"

	// maxAnswerBytes is how much of an answer is looked at. What the relay
	// answers is far smaller.
	maxAnswerBytes = 64 << 10

	// maxDrainBytes is how much more is read so that the connection can be used
	// again. Beyond it, a new connection costs less.
	maxDrainBytes = 256 << 10

	// maxHeaderBytes bounds the header of an answer.
	maxHeaderBytes = 64 << 10

	// idleTimeout is how long an unused connection is kept: longer than the
	// first retry takes to come, shorter than anybody looks at the program.
	idleTimeout = 90 * time.Second
)

// NewTransport makes a transport that keeps a connection for each of the given
// number of webhooks in flight, speaks HTTP/1.1 and asks for no compression.
// The TLS configuration may be nil; proxy, too, and then none is used. Close
// its idle connections in the end.
func NewTransport(concurrency int, tlsConfig *tls.Config, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            (&net.Dialer{}).DialContext, // bounded by the time for an answer
		TLSClientConfig:        tlsConfig,
		DisableCompression:     true,
		MaxIdleConns:           concurrency,
		MaxIdleConnsPerHost:    concurrency,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// answer is what came back for one attempt.
type answer struct {
	status int    // 0 when there was no whole answer
	cause  string // then why, as one of the cause constants
	detail string // and what exactly went wrong

	latency     time.Duration // from the call to the end of the body; only with a status
	contentType string
	body        []byte // the first maxAnswerBytes of it
	longer      bool   // the body is longer than that
}

// post delivers a body once.
func (s *sender) post(ctx context.Context, body []byte) answer {
	attempt, cancel := context.WithTimeout(ctx, s.options.AnswerTimeout)
	defer cancel()
	failed := func(err error) answer {
		cause := causeOf(err)
		// What comes of a context's end can look like anything.
		switch {
		case ctx.Err() != nil:
			cause = causeInterrupted
		case attempt.Err() != nil:
			cause = causeTimeout
		}
		return answer{cause: cause, detail: s.redactor.clean(explain(cause, err), maxDetailBytes)}
	}

	request, err := http.NewRequestWithContext(attempt, http.MethodPost, s.options.URL.String(), bytes.NewReader(body))
	if err != nil {
		return failed(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", userAgent)
	began := time.Now()
	response, err := s.client.Do(request)
	if err != nil {
		return failed(err)
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode, contentType: response.Header.Get("Content-Type")}
	// After 101 the "body" is the bare connection, on which nothing need ever come.
	if response.StatusCode != http.StatusSwitchingProtocols {
		a.body, a.longer, err = readAnswer(response.Body)
	}
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errBrokenOff
		}
		return failed(err)
	}
	a.latency = time.Since(began)
	return a
}

// readAnswer reads what is looked at of a body, and as much of the rest as is
// worth it.
func readAnswer(r io.Reader) (body []byte, longer bool, err error) {
	body, err = io.ReadAll(io.LimitReader(r, maxAnswerBytes))
	if err != nil || len(body) < maxAnswerBytes {
		return body, false, err
	}
	rest, err := io.CopyN(io.Discard, r, maxDrainBytes)
	if err == io.EOF {
		err = nil
	}
	return body, rest > 0, err
}
