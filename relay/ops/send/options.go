// Package send plays APIXO: it delivers webhooks to a callback URL as APIXO's
// documentation says that it does, counts what was answered and how fast.
//
// It is a client of the webhook endpoint and of nothing else. It knows neither
// the broker nor how the relay works inside, so that what it measures is what
// APIXO would see. Arguments, environment, terminal and exit codes are the
// command's affair.
package send

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"
)

const (
	// AnswerTimeout is how long APIXO waits for an answer, its body included.
	AnswerTimeout = 30 * time.Second

	// MaxWebhooks bounds one run. The latency of every answer is kept, 8 bytes
	// each, which makes 8 GB at this count.
	MaxWebhooks = 1_000_000_000

	// MaxConcurrency bounds the webhooks in flight, since each may hold a
	// socket, and a process has some ten thousand of them at most by default.
	MaxConcurrency = 10_000
)

// ErrOptions marks the errors of Run that come from its Options: nothing was
// sent, and trying again with the same ones changes nothing.
var ErrOptions = errors.New("wrong options")

// Options says what Run sends, where to and how.
type Options struct {
	// URL is the callback URL, http or https. Its user information is sent as
	// HTTP Basic authentication. It may hold secrets anywhere but in scheme and
	// host, so nothing else of it is shown, and where an answer repeats one, it
	// is blotted out.
	URL *url.URL

	// Transport makes the requests; see NewTransport. Who made it closes its
	// idle connections. Redirects are not followed, whatever the transport.
	Transport http.RoundTripper

	// Payloads are what is sent, in turn. At least one.
	Payloads []Payload

	// Count is how often each payload is sent, each time as a webhook of its
	// own. 1 or more, and at most MaxWebhooks together.
	Count int

	// Concurrency is how many webhooks are in flight at most, 1 to
	// MaxConcurrency. One that waits for its next attempt is not in flight.
	Concurrency int

	// Rate is how many attempts are begun in a second at most, retries among
	// them. 0 means as many as Concurrency lets through.
	Rate float64

	// TaskID is put into every webhook instead of a fresh id. The bodies made
	// from one payload are then the same to the byte, as APIXO's repeats are.
	TaskID string

	// Retries are the delays from the end of a failed attempt to the next; after
	// the last one a webhook is abandoned. None means one attempt for each. See
	// RetrySchedule. When maxPending webhooks are waiting, no new ones are begun.
	Retries []time.Duration

	// AnswerTimeout is how long an answer may take, its body included, before
	// the attempt counts as failed. 0 means the constant AnswerTimeout.
	AnswerTimeout time.Duration

	// Now tells the time of day that goes into sample webhooks. nil means
	// time.Now. Delays and latencies are measured without it.
	Now func() time.Time

	// OnAttempt, when set, is told of each attempt as it ends, one at a time.
	// Nothing else goes on until it returns.
	OnAttempt func(Attempt)
}

// Attempt is one delivery of one webhook, as it turned out.
type Attempt struct {
	TaskID  string        // empty for a payload that is sent as it is
	Number  int           // 1 for the first
	Status  int           // the HTTP status answered; 0 when there was no answer
	Cause   string        // why there was no answer, in a few words; empty when there was
	Title   string        // what the answer says about itself, unless it is 200: one line each,
	Detail  string        // at most some 400 bytes; without an answer, Detail is the error
	Latency time.Duration // until the whole answer was there; 0 without one
	At      time.Duration // when the attempt ended, since the first attempt at this webhook began
	RetryIn time.Duration // until the next attempt, when Retrying
	// Retrying says that this webhook will be tried again; otherwise this was
	// its last attempt.
	Retrying bool

	// What the run has come to with this attempt, in webhooks.
	Delivered, Failed, Waiting int
}

// total is how many webhooks the options ask for.
func (o *Options) total() int { return o.Count * len(o.Payloads) }

// check finds what is wrong with the options and fills in the defaults.
func (o *Options) check() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrOptions}, args...)...)
	}
	switch {
	case o.URL == nil || !usable(o.URL):
		return wrong("%w", errURL)
	case o.Transport == nil:
		return wrong("no transport to send with")
	case len(o.Payloads) == 0:
		return wrong("nothing to send")
	case o.Count < 1 || o.Count > MaxWebhooks/len(o.Payloads):
		return wrong("count %d is not between 1 and %d", o.Count, MaxWebhooks/len(o.Payloads))
	case o.Concurrency < 1 || o.Concurrency > MaxConcurrency:
		return wrong("concurrency %d is not between 1 and %d", o.Concurrency, MaxConcurrency)
	case !(o.Rate >= 0) || math.IsInf(o.Rate, 0):
		return wrong("rate %v is not a number of attempts in a second", o.Rate)
	case !utf8.ValidString(o.TaskID):
		return wrong("task id %q is not valid UTF-8, which JSON cannot hold", o.TaskID)
	case o.AnswerTimeout < 0:
		return wrong("an answer cannot come within %v", o.AnswerTimeout)
	}
	if o.TaskID != "" {
		for _, p := range o.Payloads {
			if !p.TakesTaskID() {
				return wrong("task id %q cannot be put into %s, which has no string data.taskId", o.TaskID, p.name)
			}
		}
	}
	if o.AnswerTimeout == 0 {
		o.AnswerTimeout = AnswerTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// errURL does not repeat the URL, since a secret may be anywhere in one that
// is not understood.
var errURL = errors.New("not an absolute http or https URL such as https://host/webhook/apixo; special characters in a password have to be percent-encoded")

// ParseURL reads a callback URL. Unlike url.Parse's, its error does not repeat
// any of it.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || !usable(u) {
		return nil, errURL
	}
	return u, nil
}

func usable(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
