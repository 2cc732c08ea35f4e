package replay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/retry"
)

const (
	userAgent = "apixo-relay-replay"

	// maxAnswerBytes is how much of an answer is looked at. What the relay answers is
	// far smaller.
	maxAnswerBytes = 16 << 10

	// troubleEvery is the least time between two calls of OnTrouble.
	troubleEvery = 30 * time.Second
)

// HTTPOptions say where events are delivered to by HTTP, and how.
type HTTPOptions struct {
	// URL is where to, http or https. Its user information is sent as HTTP Basic
	// authentication. Nothing of it but scheme and host is ever shown.
	URL *url.URL
	// Header is sent besides; see [ParseHeader]. Its values are taken for secrets.
	Header http.Header
	// Transport makes the requests; who made it closes its idle connections.
	Transport http.RoundTripper
	// Timeout is how long an answer may take, its body included.
	Timeout time.Duration
	// Attempts is how often a delivery is tried, 1 or more.
	Attempts int
	// Mode is the content mode of the events.
	Mode event.Mode
	// Webhook sends, instead of events, the webhooks that the quarantine keeps, as
	// APIXO sent them.
	Webhook bool
	// Patient does not give a receiver up that has answered before: what no later try would
	// mend at the beginning, such as a name that is not found or a certificate that is not
	// trusted, is then tried again like any other failure.
	Patient bool
	// OnTrouble, when set, is told why a delivery is tried again, every half minute at
	// most: a receiver that is down would look like one that is slow.
	OnTrouble func(reason string)
	// Backoff returns how long to wait between the attempts of one delivery; nil means
	// [httpclient.Backoff].
	Backoff func() backoff.BackOff
}

// HTTP posts each event. What is answered with a 2xx is delivered, and for
// webhooks nothing but 200. Where a later try can help there is one, after what the
// receiver asks all to wait, or after a time that grows.
func HTTP(o HTTPOptions) Target {
	if o.Backoff == nil {
		o.Backoff = httpclient.Backoff
	}
	t := &httpTarget{o: o, client: httpclient.NewClient(httpclient.Options{
		Agent: userAgent, URL: o.URL, Transport: o.Transport, Timeout: o.Timeout, MaxAnswer: maxAnswerBytes,
	})}
	for _, values := range o.Header {
		t.client.RedactHeader(values...)
	}
	return t
}

type httpTarget struct {
	o      HTTPOptions
	client *httpclient.Client
	gate   httpclient.Gate
	// answered: there was an answer, so that the URL leads somewhere.
	answered atomic.Bool

	mu    sync.Mutex
	quiet time.Time // until when nothing is said about trouble
}

func (t *httpTarget) name() string { return t.o.URL.Scheme + "://" + t.o.URL.Host }

func (*httpTarget) close() {}

func (t *httpTarget) prepare(m streamreader.Message) (outgoing, error) {
	if t.o.Webhook {
		return webhook(m.Event)
	}
	header, body, err := event.ToHTTP(t.o.Mode, m.Event, m.Header, m.Data)
	return outgoing{header: header, body: body}, err
}

func (t *httpTarget) deliver(ctx context.Context, p outgoing, done func(result)) {
	go func() { done(t.post(ctx, p)) }()
}

// post makes the attempts. One that is under way when ctx ends is waited for.
func (t *httpTarget) post(ctx context.Context, p outgoing) (r result) {
	header := http.Header(p.header)
	for name, values := range t.o.Header {
		header[name] = values
	}
	target, pauses := t.target(p.query), t.o.Backoff()
	for {
		if t.gate.Wait(ctx) != nil {
			return r.givenUp(nil)
		}
		answer := t.client.Do(context.WithoutCancel(ctx), http.MethodPost, target, header, p.body)
		r.attempts++
		r.status = httpclient.StatusLine(answer.Status, "")
		hopeless := !answer.Retryable()
		if answer.Status != 0 {
			t.answered.Store(true)
		} else if t.o.Patient && t.answered.Load() {
			hopeless = false
		}
		if t.taken(answer.Status) {
			return r.receipt(answer)
		}
		r.reason = t.reason(answer)
		switch {
		case hopeless && answer.Status == 0:
			// No other event would get there either.
			return r.givenUp(errors.New(r.reason))
		case hopeless || r.attempts >= t.o.Attempts:
			if r.attempts > 1 && !hopeless {
				r.reason += fmt.Sprintf(" (the last of %d attempts)", r.attempts)
			}
			r.outcome = Failed
			return r
		}
		wait := answer.RetryAfter(time.Now())
		t.reportTrouble(r.reason, wait)
		if wait > 0 {
			t.gate.Close(wait)
		} else if retry.Sleep(ctx, pauses.NextBackOff()) != nil {
			return r.givenUp(nil)
		}
	}
}

// reason is why an answer is none that was wanted, and what to do.
func (t *httpTarget) reason(answer httpclient.Result) string {
	reason := t.client.Failure(answer)
	switch answer.Status {
	case http.StatusNoContent, http.StatusAccepted:
		reason += "; of the 2xx, only 200 means that a relay has a webhook"
	case http.StatusMultipleChoices, http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		reason += "; redirects are not followed: give the URL that this one leads to"
	}
	return reason
}

// reportTrouble says now and then why nothing is delivered at the moment.
func (t *httpTarget) reportTrouble(reason string, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.o.OnTrouble == nil || time.Now().Before(t.quiet) {
		return
	}
	t.quiet = time.Now().Add(max(troubleEvery, wait))
	if wait > 0 {
		reason += fmt.Sprintf("; it asks to be left alone for %s", wait)
	}
	t.o.OnTrouble(reason)
}

// taken reports whether a status says that the receiver has the event.
func (t *httpTarget) taken(status int) bool {
	return status == http.StatusOK || status/100 == 2 && !t.o.Webhook
}

// target is the URL with more parameters, in place of those that it has.
func (t *httpTarget) target(more map[string]string) string {
	if len(more) == 0 {
		return t.o.URL.String()
	}
	u := *t.o.URL
	query := u.Query()
	for name, value := range more {
		query.Set(name, value)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// ParseHeader reads a line such as "Authorization: Bearer …" into a header. The
// error repeats neither the value nor what cannot be a name: either may be a secret.
func ParseHeader(line string, into http.Header) error {
	name, value, ok := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	switch name = http.CanonicalHeaderKey(strings.TrimSpace(name)); {
	case !ok || name == "":
		return errors.New("a header is written as 'Name: value'")
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }):
		return errors.New("what stands before the colon cannot be the name of a header: write 'Name: value'")
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return fmt.Errorf("the value of the header %s has control characters in it", name)
	case strings.HasPrefix(name, "Ce-"), name == "Content-Type":
		return fmt.Errorf("the header %s is the event's own", name)
	case name == "Host", name == "Content-Length", name == "Transfer-Encoding", name == "Connection", name == "User-Agent", name == "Trailer":
		return fmt.Errorf("the header %s is set by this program", name)
	}
	into[name] = append(into[name], value)
	return nil
}
