package main

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
)

// followHTTPConcurrency is how many requests are under way at once with --follow, unless a flag
// says otherwise: whoever watches a receiver sees events as they were stored, one in the
// debugger at a time, and while it restarts one of them uses its attempts up, and not eight.
const followHTTPConcurrency = 1

// sayWhatComes has a replay that follows say what it follows, what comes of each event, and when the broker is
// away.
func (f replayFlags) sayWhatComes(w cliEnv, o *replay.Options, conn *nats.Conn, say func(string)) {
	o.OnStart = func(target string, first uint64) {
		from := "now"
		if s := o.Selection; s.FromSeq > 0 || !s.Since.IsZero() {
			from = fmt.Sprintf("sequence %d", first)
		}
		line := fmt.Sprintf("following %s in the stream %s from %s on, to %s; Ctrl-C ends it", o.Selection.Subjects[0], o.Selection.Stream, from, target)
		if f.dryRun {
			line += "; with --dry-run nothing is delivered"
		}
		say(line)
	}
	conn.SetDisconnectErrHandler(func(c *nats.Conn, err error) {
		if !c.IsClosed() { // by this program, at its end
			say(fmt.Sprintf("the broker is away (%v); what comes is delivered when it is back", err))
		}
	})
	conn.SetReconnectHandler(func(*nats.Conn) { say("the broker is back") })
	if f.to == "-" && !f.dryRun {
		return // the events themselves are the lines
	}
	color, hinted := w.hasColors(w.stdout), false
	o.OnResult = func(d replay.Delivery) error {
		if f.output == outputJSON {
			return linesError(d.WriteJSON(w.stdout))
		}
		if err := d.WriteText(w.stdout, color); err != nil {
			return linesError(err)
		}
		if d.Outcome == replay.Failed && !hinted {
			hinted = true
			_, err := fmt.Fprintf(w.stdout, "    to send it again: %s\n", f.again(d.Sequence))
			return linesError(err)
		}
		return nil
	}
}

func linesError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("what comes of the events cannot be written: %w", err)
}

// again is the command that delivers one event once more. A URL is left out, since it may hold
// a token.
func (f replayFlags) again(sequence uint64) string {
	to := "…"
	for _, plain := range []string{"nats:", "@", "env:"} {
		if strings.HasPrefix(f.to, plain) {
			to = f.to
		}
	}
	quarantine := ""
	if f.which.quarantine {
		quarantine = "--quarantine "
	}
	return fmt.Sprintf("apixo-relay replay %s--from-seq %d --to-seq %d --to %s", quarantine, sequence, sequence, to)
}
