package httpclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// maxDrainBytes is how much more of an answer is read than is looked at, so that
	// the connection can be used again. Beyond it, a new connection costs less.
	maxDrainBytes = 256 << 10

	// MaxDetailBytes bounds what is shown of an error, and of each part of a problem
	// document, so that what a receiver writes cannot fill a screen.
	MaxDetailBytes = 400
)

// Options are what a client is made of; all are required.
type Options struct {
	// Agent names the command in the receiver's logs.
	Agent string
	// URL is where requests go, there and below it. Its secrets are blotted out wherever
	// an error repeats them.
	URL *url.URL
	// Transport makes the requests. Who made it closes its idle connections.
	Transport http.RoundTripper
	// Timeout is how long an answer may take, its body included.
	Timeout time.Duration
	// MaxAnswer is how much of an answer is looked at, in bytes.
	MaxAnswer int64
}

// Client makes requests to one URL and those below it. It may be used by many
// goroutines.
type Client struct {
	options  Options
	http     *http.Client
	redactor Redactor
}

// NewClient makes a client. Redirects are not followed: one is an answer, and says where
// to go.
func NewClient(o Options) *Client {
	return &Client{
		options: o,
		http: &http.Client{
			Transport:     o.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		redactor: NewRedactor(o.URL),
	}
}

// RedactURL has secrets blotted out that are in no URL, such as a key. It must be called
// before the first request.
func (c *Client) RedactURL(secrets ...string) { c.redactor = c.redactor.With(secrets...) }

// RedactHeader does the same for values of headers, whole and by the word, as far as
// they are long enough for a secret.
func (c *Client) RedactHeader(values ...string) {
	for _, value := range values {
		for _, part := range append([]string{value}, strings.Fields(value)...) {
			if len(part) >= minHeaderSecretLength {
				c.RedactURL(part)
			}
		}
	}
}

// Redact makes text from the receiver fit to be shown: without secrets, in one line
// and at most MaxDetailBytes long.
func (c *Client) Redact(s string) string { return c.redactor.Redact(s, MaxDetailBytes) }

// Result is the answer to one request, or why there is none.
type Result struct {
	Status int    // 0 when there was no whole answer
	Cause  string // then why, as one of the Cause constants
	Detail string // and what exactly went wrong, without secrets

	Latency   time.Duration // from the call to the end of the body; only with a status
	Header    http.Header
	Body      []byte // at most MaxAnswer bytes of it
	Truncated bool   // the body is longer than that
}

// Do makes one request within the client's timeout. The header is sent as it is,
// with a User-Agent besides.
func (c *Client) Do(ctx context.Context, method, target string, header http.Header, body []byte) Result {
	attempt, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	failed := func(err error) Result {
		cause := CauseOf(err)
		// What comes of a context's end can look like anything.
		switch {
		case ctx.Err() != nil:
			cause = CauseInterrupted
		case attempt.Err() != nil:
			cause = CauseTimeout
		}
		return Result{Cause: cause, Detail: c.redactor.Redact(Explain(cause, err), MaxDetailBytes)}
	}
	request, err := http.NewRequestWithContext(attempt, method, target, bytes.NewReader(body))
	if err != nil {
		return failed(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", c.options.Agent)
	began := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		return failed(err)
	}
	defer response.Body.Close()
	a := Result{Status: response.StatusCode, Header: response.Header}
	// After 101 the "body" is the bare connection, on which nothing need ever come.
	if response.StatusCode != http.StatusSwitchingProtocols {
		a.Body, a.Truncated, err = readResult(response.Body, c.options.MaxAnswer)
	}
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrBrokenOff
		}
		return failed(err)
	}
	a.Latency = time.Since(began)
	return a
}

// readResult reads what is looked at of a body, and as much of the rest as is
// worth it.
func readResult(r io.Reader, limit int64) (body []byte, longer bool, err error) {
	body, err = io.ReadAll(io.LimitReader(r, limit))
	if err != nil || int64(len(body)) < limit {
		return body, false, err
	}
	rest, err := io.CopyN(io.Discard, r, maxDrainBytes)
	if err == io.EOF {
		err = nil
	}
	return body, rest > 0, err
}

// Problem is what an answer says about itself, for people: title and detail of its
// problem document (RFC 9457) or, as detail, the beginning of whatever it holds.
func (r Redactor) Problem(a Result) (title, detail string) {
	var problem struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if mediaType == "application/problem+json" && json.Unmarshal(a.Body, &problem) == nil {
		return r.Redact(problem.Title, MaxDetailBytes), r.Redact(problem.Detail, MaxDetailBytes)
	}
	return "", r.Redact(string(a.Body), MaxDetailBytes)
}

// Failure returns in one line why a request did not succeed.
func (c *Client) Failure(a Result) string {
	if a.Status == 0 {
		return a.Cause + ": " + a.Detail
	}
	line := StatusLine(a.Status, "")
	title, detail := c.redactor.Problem(a)
	if strings.HasPrefix(strings.ToLower(detail), strings.ToLower(title)) {
		title = "" // said once
	}
	for _, part := range []string{title, detail} {
		if part != "" {
			line += ": " + part
		}
	}
	return line
}
