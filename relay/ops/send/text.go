package send

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

// WriteText writes the summary for a person to read, an answer that is kept in
// full first. The form may change; scripts use the JSON one. The error is the
// writer's.
func (s Summary) WriteText(w io.Writer) error {
	var b strings.Builder
	if s.Answer != nil {
		s.Answer.text(&b)
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "webhooks  %d to %s: %d delivered, %d failed", s.Webhooks, s.Target, s.Delivered, s.Failed)
	if s.Unfinished > 0 {
		fmt.Fprintf(&b, ", %d unfinished", s.Unfinished)
	}
	if s.NotStarted > 0 {
		fmt.Fprintf(&b, ", %d not started", s.NotStarted)
	}
	fmt.Fprintf(&b, "\nattempts  %d in %s", s.Attempts, text.Milliseconds(s.DurationSeconds*1000))
	if s.Attempts > 1 {
		fmt.Fprintf(&b, ", %s a second", text.Number(s.AttemptsPerSecond))
	}
	b.WriteByte('\n')
	s.deliveredText(&b)
	s.answersText(&b)
	s.latencyText(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes the summary as one line of JSON. The error is the writer's.
func (s Summary) WriteJSON(w io.Writer) error {
	return text.WriteJSON(w, s)
}

// deliveredText tells at which attempt webhooks were delivered, where there can be several.
func (s Summary) deliveredText(b *strings.Builder) {
	if len(s.DeliveredAt) < 2 {
		return
	}
	b.WriteString("delivered")
	if s.Delivered == 0 {
		b.WriteString(" none")
		s.DeliveredAt = nil
	}
	for i, n := range s.DeliveredAt {
		if i == 0 {
			fmt.Fprintf(b, " %d at the 1st attempt", n)
		} else {
			fmt.Fprintf(b, ", %d at the %s", n, ordinal(i+1))
		}
	}
	fmt.Fprintf(b, "; %d abandoned\n", s.Failed)
}

// ordinal writes 2 to 20 as they count attempts.
func ordinal(n int) string {
	switch n {
	case 2:
		return "2nd"
	case 3:
		return "3rd"
	}
	return strconv.Itoa(n) + "th"
}

// answersText writes a line for each kind of answer, and below it what the
// first of them said.
func (s Summary) answersText(b *strings.Builder) {
	width := 1
	for _, a := range s.Answers {
		width = max(width, len(strconv.Itoa(a.Count)))
	}
	for i, a := range s.Answers {
		label := "answers"
		if i > 0 {
			label = ""
		}
		fmt.Fprintf(b, "%-9s %*d × %s", label, width, a.Count, httpclient.StatusLine(a.Status, a.Error))
		if a.Status == http.StatusOK && s.Duplicates+s.Conflicts > 0 {
			fmt.Fprintf(b, " (%d duplicate, %d conflict)", s.Duplicates, s.Conflicts)
		}
		b.WriteByte('\n')
		// When all answers were alike and one is shown in full, that says it.
		shown := s.Answer != nil && len(s.Answers) == 1 && s.Answer.Body != ""
		if why := a.why(); why != "" && !shown {
			fmt.Fprintf(b, "%*s%s\n", 10+width+3, "", why)
		}
	}
}

// why puts title and detail together, as far as there are any.
func (a AnswerCount) why() string {
	switch {
	case a.Title == "":
		return a.Detail
	case a.Detail == "":
		return a.Title
	}
	return a.Title + ": " + a.Detail
}

func (s Summary) latencyText(b *strings.Builder) {
	switch l := s.Latency; {
	case l == nil:
	case l.Samples == 1:
		fmt.Fprintf(b, "latency   %s\n", text.Milliseconds(l.Max))
	default:
		fmt.Fprintf(b, "latency   min %s, p50 %s, p90 %s, p99 %s, max %s\n",
			text.Milliseconds(l.Min), text.Milliseconds(l.P50), text.Milliseconds(l.P90), text.Milliseconds(l.P99), text.Milliseconds(l.Max))
	}
}

// text writes the status and the body, JSON on several lines.
func (a *Answer) text(b *strings.Builder) {
	if a.TaskID != "" {
		fmt.Fprintf(b, "%s: ", text.Printable(a.TaskID))
	}
	b.WriteString(httpclient.StatusLine(a.Status, a.Error))
	b.WriteByte('\n')
	body := a.Body
	// A body that was cut is not JSON any more and stays as it is.
	if value := jsontext.Value(body); !a.Truncated && value.Indent(jsontext.WithIndent("  ")) == nil {
		body = string(value)
	}
	if body = strings.TrimSpace(body); body != "" {
		b.WriteString(body)
		b.WriteByte('\n')
	}
	if a.Truncated {
		b.WriteString("… and more\n")
	}
}
