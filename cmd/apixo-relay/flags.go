package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/timeparse"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
	"github.com/apixo-relay/apixo-relay/schema"
)

// outputFlag is --output, which every command that lists something has.
type outputFlag string

const (
	outputText outputFlag = "text"
	outputJSON outputFlag = "json"
)

func (f *outputFlag) add(flags *pflag.FlagSet, what string) {
	*f = outputText
	flags.Var(f, "output", "`form` of "+what+": text or json")
}

// String implements pflag.Value.
func (f *outputFlag) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *outputFlag) Type() string { return "string" }

// Set implements pflag.Value.
func (f *outputFlag) Set(form string) error {
	if *f = outputFlag(form); *f != outputText && *f != outputJSON {
		return fmt.Errorf("%q is neither text nor json", form)
	}
	return nil
}

// write writes what came of a command in the form that was asked for.
func (f outputFlag) write(w io.Writer, summary interface {
	WriteText(w io.Writer) error
	WriteJSON(w io.Writer) error
}) error {
	write := summary.WriteText
	if f == outputJSON {
		write = summary.WriteJSON
	}
	if err := write(w); err != nil {
		return fmt.Errorf("the summary cannot be written: %w", err)
	}
	return nil
}

// tlsFlags say how a receiver is trusted, and how this program proves who it is.
type tlsFlags struct {
	insecure                  bool
	caFile, certFile, keyFile string
}

func (f *tlsFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.insecure, "insecure", false, "do not verify the receiver's certificate")
	flags.StringVar(&f.caFile, "cacert", "", "trust the CA certificates in this PEM `file`, too")
	flags.StringVar(&f.certFile, "cert", "", "show the receiver the client certificate in this PEM `file`")
	flags.StringVar(&f.keyFile, "key", "", "PEM `file` with the key of --cert")
}

// transport makes one for so many requests at once. Its errors are about usage.
func (f tlsFlags) transport(concurrency int) (*http.Transport, error) {
	switch {
	case f.insecure && f.caFile != "":
		return nil, errors.New("--insecure and --cacert exclude each other: give one of them")
	case (f.certFile == "") != (f.keyFile == ""):
		return nil, errors.New("--cert and --key belong together: give both or neither")
	}
	cfg := &tls.Config{InsecureSkipVerify: f.insecure}
	if f.caFile != "" {
		var err error
		if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
			cfg.RootCAs = x509.NewCertPool()
		}
		if err := tlsfiles.AddCertificates(cfg.RootCAs, f.caFile); err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
	}
	if f.certFile != "" {
		pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
		if err != nil {
			return nil, fmt.Errorf("--cert %s with --key %s: %w", f.certFile, f.keyFile, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return httpclient.NewTransport(concurrency, cfg, http.ProxyFromEnvironment), nil
}

// timeFlag is a flag that takes a time, or how long ago it was.
type timeFlag struct {
	text string
	time time.Time
}

// String implements pflag.Value.
func (m *timeFlag) String() string { return m.text }

// Type implements pflag.Value.
func (m *timeFlag) Type() string { return "time" }

// Set implements pflag.Value.
func (m *timeFlag) Set(text string) error {
	at, err := timeparse.Instant(text, time.Now())
	if err != nil {
		return fmt.Errorf("%q %w", text, err)
	}
	*m = timeFlag{text, at}
	return nil
}

// duration is a flag that takes one as the environment's variables do.
type duration time.Duration

// durationVar adds a duration flag.
func durationVar(flags *pflag.FlagSet, d *time.Duration, name string, value time.Duration, usage string) {
	*d = value
	flags.Var((*duration)(d), name, usage)
}

// String implements pflag.Value.
func (d *duration) String() string { return time.Duration(*d).String() }

// Type implements pflag.Value.
func (d *duration) Type() string { return "duration" }

// Set implements pflag.Value.
func (d *duration) Set(text string) error {
	parsed, err := timeparse.Duration(text)
	if err != nil {
		return fmt.Errorf("%q %w", text, err)
	}
	*d = duration(parsed)
	return nil
}

// selectionFlags says which stored messages a command is about.
type selectionFlags struct {
	since, until   timeFlag
	fromSeq, toSeq uint64
	state          string
	quarantine     bool
	filter         streamreader.Filter
}

func (f *selectionFlags) add(flags *pflag.FlagSet) {
	flags.Var(&f.since, "since", "from when on: how long ago, such as 10m or 7d, a `time` as it is printed here, or a date")
	flags.Var(&f.until, "until", "up to when, in the same form")
	flags.Uint64Var(&f.fromSeq, "from-seq", 0, "from this sequence of the stream on, which is `N`; 1 for all")
	flags.Uint64Var(&f.toSeq, "to-seq", 0, "up to the sequence `N`")
	flags.StringVar(&f.state, "state", "", "only tasks that ended so: success or failed")
	flags.StringArrayVar(&f.filter.Tasks, "task", nil, "only the task with this `id`; repeat it for several")
	flags.StringArrayVar(&f.filter.Models, "model", nil, "only events whose callback URL named this `model`; repeat it for several")
	flags.StringArrayVar(&f.filter.FailCodes, "fail-code", nil, "only tasks that failed with this `code`, such as NSFW_DETECTED; repeat it for several")
	flags.BoolVar(&f.quarantine, "quarantine", false, "what could not become an event, instead")
	flags.StringArrayVar(&f.filter.Reasons, "reason", nil, "with --quarantine, only what is there for this `reason`; repeat it for several")
}

// selection is what to read of the configured streams. Its errors are about usage.
func (f *selectionFlags) selection(c *cobra.Command, cfg config.Config) (streamreader.Selection, error) {
	s := streamreader.Selection{
		Domain: cfg.Stream.Domain, Stream: cfg.Stream.Name, Subjects: []string{schema.TaskSubjects(cfg.Stream.Prefix)},
		Since: f.since.time, Until: f.until.time, FromSeq: f.fromSeq, ToSeq: f.toSeq,
	}
	given := c.Flags().Changed
	if !given("since") && !given("from-seq") && (given("until") || given("to-seq")) {
		s.FromSeq = 1
	}
	switch {
	case given("since") && given("from-seq"):
		return s, errors.New("--since and --from-seq exclude each other: both say where to begin")
	case given("state") && f.state == "":
		return s, errors.New("--state is empty: give success or failed, or leave the flag out for both")
	case slices.Contains(slices.Concat(f.filter.Tasks, f.filter.Models, f.filter.FailCodes, f.filter.Reasons), ""):
		return s, errors.New("--task, --model, --fail-code or --reason is empty: leave the flag out for all")
	case given("from-seq") && f.fromSeq == 0, given("to-seq") && f.toSeq == 0:
		return s, errors.New("sequences begin with 1")
	case f.toSeq != 0 && f.toSeq < f.fromSeq:
		return s, fmt.Errorf("--to-seq %d is before --from-seq %d", f.toSeq, f.fromSeq)
	case !f.until.time.IsZero() && f.until.time.Before(f.since.time):
		return s, fmt.Errorf("--until %s is before --since %s", f.until.text, f.since.text)
	case f.state != "" && f.quarantine:
		return s, errors.New("--state and --quarantine exclude each other: what is quarantined has no state")
	case len(f.filter.FailCodes) > 0 && f.quarantine:
		return s, errors.New("--fail-code and --quarantine exclude each other: only failed tasks have a code")
	case len(f.filter.FailCodes) > 0 && f.state == string(schema.StateSuccess):
		return s, errors.New("--fail-code and --state success exclude each other: only failed tasks have a code")
	case len(f.filter.Reasons) > 0 && !f.quarantine:
		return s, errors.New("--reason is about the quarantine: give --quarantine with it")
	case f.state != "" && f.state != string(schema.StateSuccess) && f.state != string(schema.StateFailed):
		return s, fmt.Errorf("--state %q is neither success nor failed", f.state)
	case f.state != "":
		s.Subjects = []string{schema.TaskSubject(cfg.Stream.Prefix, schema.State(f.state))}
	case len(f.filter.FailCodes) > 0:
		s.Subjects = []string{schema.TaskSubject(cfg.Stream.Prefix, schema.StateFailed)}
	case f.quarantine:
		s.Stream, s.Subjects = cfg.Stream.Quarantine, []string{schema.QuarantineSubjects(cfg.Stream.Prefix)}
	}
	return s, nil
}
