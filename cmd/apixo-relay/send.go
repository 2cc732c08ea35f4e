package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/secretarg"
	"github.com/apixo-relay/apixo-relay/relay/ops/send"
	"github.com/apixo-relay/apixo-relay/relay/timeparse"
	"github.com/apixo-relay/apixo-relay/relay/utf8text"
)

// maxSendFileBytes bounds a file to send: far more than any receiver takes, so
// that refusals can be tried, and little enough to hold.
const maxSendFileBytes = 64 << 20

// sendFlags are the flags of send as they were given.
type sendFlags struct {
	files       []string
	keepID      bool
	taskID      string
	count       int
	concurrency int
	rate        string
	url         string
	tls         tlsFlags
	retry       bool
	timeScale   float64
	output      outputFlag
}

func sendCommand(w cliEnv) *cobra.Command {
	var f sendFlags
	c := &cobra.Command{
		Use:   "send [success|failed]",
		Short: "Play APIXO: deliver sample or given webhooks and sum up the answers",
		Long: `send plays APIXO: it delivers sample or given webhooks as APIXO does, and sums
up the answers, so that everything can be tried without an account.

Each webhook is one POST, and only HTTP 200 within 30 seconds counts as
delivered: no other 2xx does, and redirects are not followed. With --retry,
what was not delivered is tried again after 30 seconds, 2 minutes and 10
minutes, and abandoned after that; meanwhile others are sent.

A sample is about a task that ended just now, with a fresh task id. A file gets
a fresh task id, too, when it is a JSON object with a string data.taskId; no
other byte of it is changed. Any other file is sent as it is, so that one can
see what a receiver makes of bad input.

Without --url, webhooks go to the relay that the environment describes, with its
first token. Tokens are never printed: of a URL, only scheme and host are shown.

` + secretPlaces + `

Exit codes:
  0  every webhook was delivered
  1  some were not, or the run was stopped
  2  wrong arguments or configuration: nothing was sent`,
		Example: `  # one webhook about a task that succeeded, to the relay on this machine
  apixo-relay send

  # one about a task that failed
  apixo-relay send failed

  # a thousand, 32 at once, 200 begun in a second at most
  apixo-relay send --count 1000 --concurrency 32 --rate 200/s

  # your own webhook (- is standard input), each time with a fresh task id
  echo '{"code":200,"data":{"taskId":"t","state":"failed"}}' | apixo-relay send --file - --count 10

  # the same task three times, to see duplicates recognized
  apixo-relay send --task-id task_abc123xyz --count 3

  # APIXO's retries a thousand times faster: after 30, 120 and 600 milliseconds
  apixo-relay send --retry --time-scale 0.001

  # to a URL of your choice; a token is its last path segment or its password
  apixo-relay send --url 'http://127.0.0.1:8720/webhook/apixo?model=nano-banana'

  # to the URL in a variable, as others cannot see it
  CALLBACK_URL=http://127.0.0.1:8720/webhook/apixo apixo-relay send --url env:CALLBACK_URL`,
		ValidArgs: []string{send.Success, send.Failed},
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usageError{fmt.Errorf("%d states given where one fits; '%s -h' shows what it takes", len(args), c.CommandPath())}
			case len(args) == 1 && args[0] != send.Success && args[0] != send.Failed:
				return usageError{fmt.Errorf("there is no sample %q: choose %s or %s, or give a file with --file, and a URL with --url", shown(args[0]), send.Success, send.Failed)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return runSend(c, w, f, args) },
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.files, "file", nil, "send this `file`, - for standard input, instead of a sample; repeat it for several in turn")
	flags.BoolVar(&f.keepID, "keep-id", false, "leave the task id in a file as it is")
	flags.StringVar(&f.taskID, "task-id", "", "the task `id` for every webhook, instead of fresh ones")
	flags.IntVar(&f.count, "count", 1, "how often the sample, or each file, is sent")
	flags.IntVar(&f.concurrency, "concurrency", 1, "how many webhooks are in flight at most")
	flags.StringVar(&f.rate, "rate", "0", "how many attempts are begun in a second at most, such as `50/s`; 0 for no limit")
	flags.StringVar(&f.url, "url", "", "the `URL` to send to, or the one in @file or env:NAME (default: the environment's callback URL)")
	f.tls.add(flags)
	flags.BoolVar(&f.retry, "retry", false, "try again as APIXO does what was not answered with 200")
	flags.Float64Var(&f.timeScale, "time-scale", 1, "multiply the delays of --retry by this `factor`")
	f.output.add(flags, "the summary")
	return c
}

func runSend(c *cobra.Command, w cliEnv, f sendFlags, args []string) error {
	o, err := sendOptions(c, w, f, args)
	if err != nil {
		return usageError{err}
	}
	transport, err := f.tls.transport(o.Concurrency)
	if err != nil {
		return usageError{err}
	}
	defer transport.CloseIdleConnections()
	o.Transport = transport

	bar := showSendProgress(w.stderr, &o)
	summary, err := send.Run(c.Context(), o)
	bar.end()
	if errors.Is(err, send.ErrOptions) {
		return usageError{err}
	}
	if err := f.output.write(w.stdout, summary); err != nil {
		return err
	}
	switch {
	case err != nil && c.Context().Err() != nil:
		return errors.New("stopped before every webhook was delivered; the summary is of what was done")
	case err != nil:
		return err
	case !summary.AllDelivered() && summary.Webhooks == 1:
		return errors.New("the webhook was not delivered; the answer in the summary says why")
	case !summary.AllDelivered():
		return fmt.Errorf("%d of %d webhooks were not delivered; the answers in the summary say why", summary.Webhooks-summary.Delivered, summary.Webhooks)
	}
	return nil
}

// showSendProgress makes the run report itself on standard error: many webhooks
// with a bar on a terminal, one that is retried with a line for each attempt that
// failed.
func showSendProgress(stderr io.Writer, o *send.Options) *progress {
	total := o.Count * len(o.Payloads)
	if total == 1 {
		last := len(o.Retries) + 1
		o.OnAttempt = func(a send.Attempt) {
			if last > 1 && a.Status != http.StatusOK {
				fmt.Fprintln(stderr, attemptLine(a, last))
			}
		}
		return nil
	}
	bar := newProgress(stderr, total, "webhooks", "sending")
	o.OnAttempt = func(a send.Attempt) {
		doing := "sending"
		if a.Failed+a.Waiting > 0 {
			doing = fmt.Sprintf("%d failed, %d to be retried", a.Failed, a.Waiting)
		}
		bar.describe(doing)
		bar.set(a.Delivered+a.Failed, total)
	}
	return bar
}

// attemptLine is what the sender sees of an attempt that failed.
func attemptLine(a send.Attempt, last int) string {
	line := fmt.Sprintf("attempt %d of %d, %s after the first: %s", a.Number, last, (a.At - a.Latency).Round(time.Millisecond), httpclient.StatusLine(a.Status, a.Cause))
	if a.Number == 1 {
		line = fmt.Sprintf("attempt 1 of %d: %s", last, httpclient.StatusLine(a.Status, a.Cause))
	}
	for _, part := range []string{a.Title, a.Detail} {
		if part != "" {
			line += ": " + part
		}
	}
	if a.Retrying {
		return line + fmt.Sprintf("; the next in %s", a.RetryIn)
	}
	return line + "; abandoned: APIXO would not call again"
}

// sendOptions turns arguments and flags into what Run takes. All its errors
// are about usage.
func sendOptions(c *cobra.Command, w cliEnv, f sendFlags, args []string) (o send.Options, err error) {
	given := func(flag string) bool { return c.Flags().Changed(flag) }
	switch {
	case len(args) > 0 && len(f.files) > 0:
		return o, fmt.Errorf("%q names a sample and --file a file: give one of them", args[0])
	case f.keepID && len(f.files) == 0:
		return o, errors.New("--keep-id is about files: give one with --file")
	case f.keepID && given("task-id"):
		return o, errors.New("--keep-id and --task-id exclude each other: give one of them")
	case given("task-id") && f.taskID == "":
		return o, errors.New("--task-id is empty: give an id, or leave the flag out for fresh ones")
	case given("time-scale") && !f.retry:
		return o, errors.New("--time-scale is about retries: give --retry with it")
	}
	o.Count, o.Concurrency, o.TaskID = f.count, f.concurrency, f.taskID
	if o.Rate, err = timeparse.Rate(f.rate); err != nil {
		return o, fmt.Errorf("--rate: %q %w", f.rate, err)
	}
	if f.retry {
		if o.Retries, err = send.RetrySchedule(f.timeScale); err != nil {
			return o, fmt.Errorf("--time-scale: %w", err)
		}
	}
	if o.URL, err = sendURL(w, f.url, given("url")); err != nil {
		return o, err
	}
	o.Payloads, err = sendPayloads(w, f, args)
	return o, err
}

// sendURL takes the given URL or asks the configuration, which is not looked at
// otherwise.
func sendURL(w cliEnv, text string, given bool) (*url.URL, error) {
	if given {
		return w.secretURL("url", text)
	}
	cfg, err := w.settings()
	if err != nil {
		return nil, err
	}
	return send.ParseURL(cfg.CallbackURL())
}

func sendPayloads(w cliEnv, f sendFlags, args []string) ([]send.Payload, error) {
	if len(f.files) == 0 {
		state := send.Success
		if len(args) > 0 {
			state = args[0]
		}
		sample, err := send.Sample(state)
		return []send.Payload{sample}, err
	}
	var payloads []send.Payload
	stdinRead := f.url == secretarg.Stdin
	for _, name := range f.files {
		if name == "-" && stdinRead {
			return nil, errors.New("standard input is to be read twice: --file - can be given once, and not beside --url @-")
		}
		stdinRead = stdinRead || name == "-"
		body, err := readSendFile(w, name)
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		payloads = append(payloads, send.File(name, body, f.keepID))
	}
	return payloads, nil
}

func readSendFile(w cliEnv, name string) ([]byte, error) {
	in := w.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	body, err := io.ReadAll(io.LimitReader(in, maxSendFileBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxSendFileBytes:
		return nil, fmt.Errorf("%s is larger than %d bytes, the most that is sent", name, maxSendFileBytes)
	}
	if body, err = utf8text.Trim(body); err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	return body, nil
}
