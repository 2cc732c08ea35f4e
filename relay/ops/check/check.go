// Package check checks everything that the relay needs, and says what to do where something
// is missing: settings, broker, streams, permissions, clock, disk, and the way of a webhook.
//
// It changes nothing. It stores only what a delivery through a callback URL leaves in the
// quarantine. It asks the status API once, if there is a key. It reports on a stream in the same words as the relay: see
// [publisher.ValidateStream]. It must not know flags or exit codes.
package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// Status is the result of a check.
type Status string

// The statuses. Skip is that of what could not be looked at, because something
// before it failed or because it is elsewhere.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip"
)

// Names of what is looked at, in the order of a report. They do not change.
const (
	Configuration = "configuration" // the environment
	Senders       = "senders"       // who can send webhooks
	Certificate   = "certificate"   // of the relay's own HTTPS
	API           = "api"           // APIXO's status API
	Disk          = "disk"          // free space in RELAY_DATA_DIR
	Store         = "store"         // which versions can open those in RELAY_DATA_DIR
	Descriptors   = "descriptors"   // files and connections that a process may have open
	Tracing       = "tracing"       // a collector takes spans
	Broker        = "broker"        // a connection to it
	Version       = "version"       // of the broker
	JetStream     = "jetstream"     // for this account
	Permissions   = "permissions"   // of this user, for what the relay does
	Stream        = "stream"        // that of the events takes messages
	Quarantine    = "quarantine"    // the same
	Expected      = "expected"      // the bucket of announced tasks takes them
	Retention     = "retention"     // what was acknowledged stays
	Window        = "window"        // for duplicates, against the sender's schedule
	Replicas      = "replicas"      // of the streams
	Payload       = "payload"       // the largest event fits
	Archive       = "archive"       // the files of results, where they are archived
	Clock         = "clock"         // the broker's against this one, and this one by itself
	Relay         = "relay"         // the one that runs here, by its own word
	Delivery      = "delivery"      // through the callback URL
	Strangers     = "strangers"     // who have the callback URL without its secret
)

// Check is one condition and its result.
type Check struct {
	// Name is one of the constants; several checks can have the same one.
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Fact is a sentence with what was found, without secrets.
	Fact string `json:"fact"`
	// Remedy says what to do; empty where all is well.
	Remedy string `json:"remedy,omitempty"`
}

// Report has all checks. Each name is in it, except the checks of a delivery if there was
// none, and Archive where no archive is used.
type Report struct {
	// OK: nothing failed. There can be warnings, and things that were not looked at.
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
}

// Count returns how many checks have status s.
func (r Report) Count(s Status) (n int) {
	for _, c := range r.Checks {
		if c.Status == s {
			n++
		}
	}
	return n
}

// User is whose connection to the broker is checked.
type User int

// The users. RelayUser is to do all that the relay does, which is tried. AnyUser may be another
// one: where it may not store events, that is told, and nothing else of the kind is tried.
// Of ReadingUser nothing is tried that only the relay does.
const (
	RelayUser User = iota
	AnyUser
	ReadingUser
)

// Options says what is checked, and from where.
type Options struct {
	// Environ is the relay's environment, in the form of os.Environ.
	Environ []string
	// User says whom the broker knows by that environment.
	User User
	// Timeout bounds the whole, whatever the broker does. More than 0.
	Timeout time.Duration
	// CallbackURL is where to deliver something from outside in; nil for nowhere. It
	// may hold secrets anywhere but in scheme and host.
	CallbackURL *url.URL
	// Transport makes the requests to it. Who made it closes its idle connections.
	Transport http.RoundTripper
	// Now tells the time of day; nil means time.Now.
	Now func() time.Time
	// Built is when this program was made, before which no clock that is right can be;
	// zero if that is not known.
	Built time.Time
}

// runner holds what all the looks have in common.
type runner struct {
	Options
	cfg config.Config
	// timeout is how long one answer is waited for, so that some which do not come
	// leave time for the others.
	timeout time.Duration
}

// maxTimeout is longer than any broker that is well takes for an answer.
const maxTimeout = 3 * time.Second

// Run makes all checks that the time until the timeout, or the end of ctx, allows.
func Run(ctx context.Context, o Options) Report {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	if o.Now == nil {
		o.Now = time.Now
	}
	// A connection, a look at the streams and one at the permissions come one after
	// the other, and then a delivery has to fit.
	x := &runner{Options: o, timeout: min(maxTimeout, o.Timeout/5)}
	found := x.configuration()
	if x.isConfigured(found) {
		running, api := make(chan checkList, 1), make(chan checkList, 1)
		go func() { running <- x.running(ctx) }()
		go func() { api <- x.api(ctx) }()
		found = append(found, x.webhooks()...)
		machine := x.machine(ctx)
		broker, delivery := x.broker(ctx)
		found = slices.Concat(found, <-api, machine, broker)
		x.ownClock(&found)
		found = append(found, <-running...)
		found = append(found, delivery...)
	} else {
		found.skip("the configuration has to be right first", Senders, Certificate, API, Disk, Store, Descriptors, Tracing)
		found.skip("the configuration has to be right first", aboutBroker...)
		found.skip("the configuration has to be right first", Relay)
		if o.CallbackURL != nil {
			found.skip("the configuration has to be right first", Delivery)
		}
	}
	r := Report{Checks: found}
	r.OK = r.Count(Fail) == 0
	return r
}

// configuration reads the environment, and tells all that is wrong with it.
func (x *runner) configuration() (found checkList) {
	cfg, err := config.Load(x.Environ)
	wrong, _ := errors.AsType[config.Errors](err)
	switch {
	case len(wrong) > 0:
		for _, e := range wrong {
			remedy := e.Hint
			if remedy == "" {
				remedy = "'apixo-relay serve -h' explains each variable"
			}
			e.Hint = ""
			found.fail(Configuration, remedy, "%s", e.Error())
		}
		return found
	case err != nil:
		found.fail(Configuration, "'apixo-relay serve -h' explains each variable", "%v", err)
		return found
	}
	x.cfg = cfg
	found.ok(Configuration, "every setting can be used")
	for _, w := range cfg.Warnings {
		found.warn(Configuration, "compare it with what is meant", "%v", w)
	}
	for _, name := range cfg.Unknown {
		found.warn(Configuration, "correct its name, or unset it; 'apixo-relay serve -h' lists those that there are", "%s means nothing to the relay", name)
	}
	return found
}

func (x *runner) isConfigured(found checkList) bool { return found[0].Status == OK }

// checkList are what has been found so far.
type checkList []Check

func (l *checkList) add(name string, s Status, remedy, format string, args ...any) {
	*l = append(*l, Check{Name: name, Status: s, Fact: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (l *checkList) ok(name, format string, args ...any) { l.add(name, OK, "", format, args...) }

func (l *checkList) warn(name, remedy, format string, args ...any) {
	l.add(name, Warn, remedy, format, args...)
}

func (l *checkList) fail(name, remedy, format string, args ...any) {
	l.add(name, Fail, remedy, format, args...)
}

// skip says of several things why they were not looked at.
func (l *checkList) skip(why string, names ...string) {
	for _, name := range names {
		l.add(name, Skip, "", "not looked at: %s", why)
	}
}
