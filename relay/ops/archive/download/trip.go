package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// maxTextBytes is how much is read of an answer that is no file, maxShownBytes how much
	// of it is shown.
	maxTextBytes  = 4 << 10
	maxShownBytes = 200

	// minSecretBytes is the length from which what stands in a query counts as a secret.
	minSecretBytes = 4

	// minSegmentBytes is the same for a segment of a path.
	minSegmentBytes = 16

	// maxRetryAfter bounds what an origin can ask for.
	maxRetryAfter = time.Hour
)

// trip is the way to one file.
type trip struct {
	client *Client
	hops   []*url.URL // so far
}

// fault makes what is to be told of an error at the last hop: without secrets, and with where
// that is.
func (t *trip) fault(e *Error) *Error {
	if last := t.hops[len(t.hops)-1]; origin(last) != origin(t.hops[0]) {
		e.Detail = fmt.Sprintf("led on to %s: %s", origin(last), e.Detail)
	}
	e.Detail = t.redactor().Redact(e.Detail, httpclient.MaxDetailBytes)
	return e
}

// misled makes what is to be told of an address that may not be asked.
func (t *trip) misled(e *Error) *Error {
	if len(t.hops) > 0 {
		e.Detail = "it leads on, and there " + e.Detail
	}
	return e
}

// redactor blots out what could be secret in the addresses so far: all of a query, and what is
// long enough for a secret in a path.
func (t *trip) redactor() httpclient.Redactor {
	var secrets []string
	hide := func(s string, least int) {
		if len(s) >= least {
			secrets = append(secrets, s)
		}
	}
	for _, u := range t.hops {
		hide(u.RawQuery, minSecretBytes)
		for _, values := range u.Query() {
			for _, value := range values {
				hide(value, minSecretBytes)
			}
		}
		for segment := range strings.SplitSeq(u.Path, "/") {
			hide(segment, minSegmentBytes)
		}
	}
	return httpclient.Redactor{}.With(secrets...)
}

// failed makes what Open returns of an error: the cause of ctx's end, or an [*Error].
func (t *trip) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if fault, ok := errors.AsType[*Error](err); ok {
		return t.fault(fault)
	}
	if address, ok := errors.AsType[notPublicError](err); ok {
		return t.fault(forbidden(address))
	}
	return t.fault(temporary("%s cannot be reached: %s", origin(t.hops[len(t.hops)-1]), inWords(err)))
}

// forbidden is the error of an address that is not public.
func forbidden(e notPublicError) *Error {
	return &Error{Reason: schema.ReasonForbiddenAddress, Detail: fmt.Sprintf("%v, and no entry of RELAY_ARCHIVE_HOSTS allows the origin as it stands", e)}
}

// temporary is the error of what may pass.
func temporary(format string, values ...any) *Error {
	return &Error{Reason: schema.ReasonUnavailable, Detail: fmt.Sprintf(format, values...), Temporary: true}
}

// inWords says what went wrong with a connection.
func inWords(err error) string {
	said := strings.TrimPrefix(err.Error(), "net/http: ")
	if cause := httpclient.CauseOf(err); cause != httpclient.CauseOther {
		return cause + ": " + said
	}
	return said
}

// ask makes the request of one hop. It returns a file, or the address that it leads to.
func (t *trip) ask(ctx context.Context, u *url.URL, asItStands bool) (f *File, next string, err error) {
	hop, cancel := context.WithCancelCause(ctx)
	b := &body{trip: t, ctx: ctx, hop: hop, cancel: cancel, silence: t.client.o.Silence}
	traced := httptrace.WithClientTrace(hop, &httptrace.ClientTrace{GotConn: b.gotConn})
	request, err := http.NewRequestWithContext(traced, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, "", &Error{Reason: schema.ReasonInvalidAddress, Detail: "the address is no URL"}
	}
	request.Header.Set("Accept", "*/*")
	request.Header.Set("Accept-Encoding", "identity")
	request.Header.Set("User-Agent", t.client.o.Agent)
	transport, err := t.client.transport(request, asItStands)
	if err != nil {
		cancel(nil)
		return nil, "", err
	}
	// Not by an http.Client, which would tell each hop of the one before.
	response, err := transport.RoundTrip(request)
	if err != nil {
		cancel(nil)
		return nil, "", err
	}
	b.begin(response)
	if response.StatusCode == http.StatusOK {
		if limit := t.client.o.MaxBytes; response.ContentLength > limit {
			b.Close()
			return nil, "", tooLarge(fmt.Sprintf("it has %d bytes", response.ContentLength), limit)
		}
		b.limit = t.client.o.MaxBytes
		return &File{ReadCloser: b, Length: response.ContentLength}, "", nil
	}
	// Read to its end where it is short, so that the connection is of use again.
	said, _ := io.ReadAll(io.LimitReader(b, maxTextBytes))
	b.Close()
	if isRedirect(response.StatusCode) {
		next, err = location(response)
		return nil, next, err
	}
	return nil, "", t.refusal(response, string(said))
}

// tooLarge is the error of a file over the limit.
func tooLarge(what string, limit int64) *Error {
	return &Error{Reason: schema.ReasonTooLarge, Detail: fmt.Sprintf("%s: the limit is %d (RELAY_ARCHIVE_MAX_BYTES)", what, limit)}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// location returns where a redirect leads.
func location(response *http.Response) (string, error) {
	u, err := response.Location()
	if err != nil {
		return "", &Error{Reason: schema.ReasonRefused, Detail: httpclient.StatusLine(response.StatusCode, "") + ", and no address to go on to"}
	}
	return u.String(), nil
}

// refusal says what an answer means that is neither a file nor a redirect.
func (t *trip) refusal(response *http.Response, said string) *Error {
	e := &Error{Reason: schema.ReasonRefused, Detail: httpclient.StatusLine(response.StatusCode, "")}
	isPage := strings.Contains(response.Header.Get("Content-Type"), "html") // for eyes, and long
	if said = t.redactor().Redact(said, maxShownBytes); said != "" && !isPage {
		e.Detail += ": " + said
	}
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound, status == http.StatusGone, status == http.StatusUnavailableForLegalReasons:
		e.Reason = schema.ReasonGone
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		e.Reason, e.Temporary = schema.ReasonUnavailable, true
		e.RetryAfter = httpclient.RetryAfter(response.Header, time.Now(), maxRetryAfter)
	}
	return e
}
