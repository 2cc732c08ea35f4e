package replay

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/text"
)

// maxShown is how many failures, and skipped messages, the text of a summary shows.
const maxShown = 10

// Summary is the result of a replay. Its JSON form has the same facts under stable names.
type Summary struct {
	Stream string `json:"stream"`
	Target string `json:"target"` // of a URL, scheme and host alone
	DryRun bool   `json:"dryRun"` // then Delivered counts what would be

	Read       int `json:"read"`       // messages in the selection that were looked at
	Filtered   int `json:"filtered"`   // of them, those of other tasks, models, codes or reasons than asked for
	Delivered  int `json:"delivered"`  // the target has taken them
	Failed     int `json:"failed"`     // not delivered after their last attempt
	Skipped    int `json:"skipped"`    // not to be delivered: no events, or there already
	Unfinished int `json:"unfinished"` // given up when the replay was stopped
	// Duplicates are, at a NATS subject, those of the skipped ones that were there
	// already; at a relay, those of the delivered ones that it had already, and
	// Conflicts those of them that tell another outcome.
	Duplicates int `json:"duplicates"`
	Conflicts  int `json:"conflicts"`

	// First and Last are of a dry run: the ends of what would be delivered.
	First *Position `json:"first,omitempty"`
	Last  *Position `json:"last,omitempty"`

	// ResumeSequence is the sequence from which on to replay, with the same
	// selection besides, so that nothing is left out. What comes after it may have
	// been delivered already, if a delivery failed.
	ResumeSequence uint64 `json:"resumeSequence"`

	// LastSequence is the last that was looked at, 0 if none was. Who delivers the
	// failed ones by their tasks' ids goes on behind it.
	LastSequence uint64 `json:"lastSequence"`

	// Unconfirmed: nobody has said that what was delivered has arrived, because no
	// stream takes the subject, or one that acknowledges nothing.
	Unconfirmed bool `json:"unconfirmed"`

	// Failures and Skips are the first 100 of them, by sequence; those that were
	// there already are not among the skips.
	Failures []Undelivered `json:"failures"`
	Skips    []Undelivered `json:"skips"`

	DurationSeconds float64 `json:"durationSeconds"`

	present int // how many of the duplicates are skipped ones
}

// Position is where a message is in its stream.
type Position struct {
	Sequence uint64    `json:"sequence"`
	Stored   time.Time `json:"stored"`
	ID       string    `json:"id,omitempty"` // of the event; empty if it is none
}

// Undelivered is a message, and why it was not delivered.
type Undelivered struct {
	Position
	Reason string `json:"reason"` // one line, without secrets
}

// Complete reports whether every selected event is delivered, or need not be.
func (s Summary) Complete() bool { return s.Failed+s.Unfinished == 0 }

// listed puts one more into a list of the lowest sequences, by sequence: deliveries do
// not end in order.
func listed(list []Undelivered, place Position, reason string) []Undelivered {
	list = append(list, Undelivered{place, reason})
	slices.SortFunc(list, func(a, b Undelivered) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return list[:min(len(list), maxListed)]
}

// WriteJSON writes the summary as one line of JSON. The error is the writer's.
func (s Summary) WriteJSON(w io.Writer) error {
	// Lists are never null.
	s.Failures = append([]Undelivered{}, s.Failures...)
	s.Skips = append([]Undelivered{}, s.Skips...)
	return text.WriteJSON(w, s)
}

// WriteText writes the summary for a person to read. The form may change; scripts
// use the JSON one. The error is the writer's.
func (s Summary) WriteText(w io.Writer) error {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s"+format+"\n", append([]any{label}, args...)...)
	}
	messages := "messages"
	if s.Read == 1 {
		messages = "message"
	}
	upTo := ""
	if s.LastSequence > 0 {
		upTo = fmt.Sprintf(", up to sequence %d", s.LastSequence)
	}
	line("read", "%s %s of the stream %s%s", text.Count(s.Read), messages, s.Stream, upTo)
	line("target", "%s", s.Target)
	if s.Filtered > 0 {
		line("passed over", "%s that were not asked for", text.Count(s.Filtered))
	}
	if s.DryRun {
		line("to deliver", "%s; this was a dry run: nothing was delivered", text.Count(s.Delivered))
		if s.First != nil {
			line("first", "%s", s.First)
			line("last", "%s", s.Last)
		}
	} else {
		confirmed := ""
		if s.Unconfirmed && s.Delivered > 0 {
			confirmed = " (to whoever listened: no stream has confirmed it)"
		}
		line("delivered", "%s%s%s", text.Count(s.Delivered), confirmed, remark(s.Duplicates-s.present, "already stored there", s.Conflicts, "with another outcome"))
		line("failed", "%s", text.Count(s.Failed))
		list(&b, s.Failures, s.Failed)
	}
	line("skipped", "%s%s", text.Count(s.Skipped), remark(s.present, "already there", 0, ""))
	list(&b, s.Skips, s.Skipped-s.present)
	if s.Unfinished > 0 {
		line("unfinished", "%s", text.Count(s.Unfinished))
	}
	if !s.DryRun {
		took := text.Milliseconds(s.DurationSeconds * 1000)
		if s.Delivered > 1 && s.DurationSeconds > 0 {
			took += ", " + text.Number(float64(s.Delivered)/s.DurationSeconds) + " a second"
		}
		line("took", "%s", took)
		line("resume", "--from-seq %d", s.ResumeSequence)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// remark tells of two counts, as far as there is something to tell.
func remark(n int, what string, m int, which string) string {
	switch {
	case n <= 0:
		return ""
	case m <= 0:
		return fmt.Sprintf(" (%s %s)", text.Count(n), what)
	}
	return fmt.Sprintf(" (%s %s, %s of them %s)", text.Count(n), what, text.Count(m), which)
}

// list shows the beginning of a list, of which there are so many in all.
func list(b *strings.Builder, items []Undelivered, all int) {
	for _, u := range items[:min(len(items), maxShown)] {
		fmt.Fprintf(b, "%12s%8d  %s  %s\n", "", u.Sequence, shown(u.ID), u.Reason)
	}
	if more := all - maxShown; more > 0 {
		fmt.Fprintf(b, "%12s%8s  and %s more; --output json lists the first %d\n", "", "", text.Count(more), maxListed)
	}
}

// String returns the position for a person to read.
func (p *Position) String() string {
	return fmt.Sprintf("%d  %s  %s", p.Sequence, p.Stored.Local().Format(time.DateTime), shown(p.ID))
}

// shown is an id as it fits into a line: others than the relay may have made it.
func shown(id string) string {
	id, cut := text.Shorten(text.Line(id), 64)
	switch {
	case cut:
		return id + "…"
	case id == "":
		return "-"
	}
	return id
}
