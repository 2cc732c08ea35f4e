package tail

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// The words that a line has for what a message is.
const (
	wordSuccess  = "success"
	wordFailed   = "failed"
	wordRejected = "rejected"
	wordConflict = "conflict"
	wordMissing  = "missing"
	wordUnknown  = "unknown" // somebody else's
)

// words are all of them, in the order in which they are summed up.
var words = []string{wordSuccess, wordFailed, wordRejected, wordConflict, wordMissing, wordUnknown}

func word(m streamreader.Message) string {
	switch {
	case m.Err != nil:
		return wordUnknown
	case m.Event.Type == schema.TypeTaskSuccess:
		return wordSuccess
	case m.Event.Type == schema.TypeTaskFailed:
		return wordFailed
	case m.Event.Type == schema.TypeWebhookRejected, m.Event.Type == schema.TypeAnnouncementRejected:
		return wordRejected
	case m.Event.Type == schema.TypeWebhookConflict:
		return wordConflict
	case m.Event.Type == schema.TypeTaskMissing:
		return wordMissing
	}
	return wordUnknown
}

// Text writes a message for a person: one line for the event, and below it one for each URL of
// its result, or for the beginning of its data. The error is the writer's.
func Text(w io.Writer, m streamreader.Message, color bool) error {
	if err := line(w, m, color); err != nil {
		return err
	}
	var b strings.Builder
	for _, below := range content(m) {
		fmt.Fprintf(&b, "    %s\n", below)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// line writes the line of a message.
func line(w io.Writer, m streamreader.Message, color bool) error {
	c, what, rest := text.Yellow, m.Event.ID, ""
	word := word(m)
	switch word {
	case wordSuccess, wordFailed:
		task, err := m.Event.Task()
		switch {
		case err != nil:
			word, rest = wordUnknown, err.Error()
		case word == wordFailed:
			c, what, rest = text.Red, task.ID, strings.TrimSpace(task.FailCode+" "+task.FailMsg)
		default:
			c, what, rest = text.Green, task.ID, took(task)
		}
	case wordRejected:
		what, rest = m.Event.Extensions["reason"], m.Event.Extensions["detail"]
	case wordConflict, wordMissing:
		what, rest = m.Event.Subject, m.Event.Extensions["detail"] // the task
	default:
		what = m.Subject
		if m.Err != nil {
			rest = m.Err.Error()
		}
	}
	shown := fmt.Sprintf("%s %6d  %s  %s%s  %s", text.Paint(color, text.Faint, m.Stored.Local().Format(time.DateTime)), m.Sequence,
		text.Paint(color, c, fmt.Sprintf("%-8s", word)), text.Line(what), text.Paint(color, text.Faint, labels(m.Event)), shorten(text.Line(rest), maxShown))
	_, err := io.WriteString(w, strings.TrimRight(shown, " ")+"\n")
	return err
}

// content is what else is shown of a message: the addresses of a result, or else
// the beginning of what is in it.
func content(m streamreader.Message) (lines []string) {
	switch word(m) {
	case wordRejected, wordConflict, wordMissing:
		return []string{shorten(text.Line(string(m.Event.Data)), maxShown)}
	case wordSuccess:
		task, err := m.Event.Task()
		if err != nil {
			return nil
		}
		for _, url := range task.ResultURLs {
			lines = append(lines, text.Line(url))
		}
		if len(lines) == 0 && task.ResultJSON != nil {
			lines = []string{shorten(text.Line(string(task.ResultJSON)), maxShown)}
		}
	}
	return lines
}

// maxShown bounds what is shown of a body, of a result without addresses, and of
// an explanation, in bytes.
const maxShown = 200

// labels are the callback attributes, such as the model.
func labels(e schema.Event) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		switch name {
		case "reason", "detail", "traceparent", "tracestate":
		default:
			fmt.Fprintf(&b, " %s=%s", name, text.Line(e.Extensions[name]))
		}
	}
	return b.String()
}

func took(t schema.Task) string {
	if t.CostTime <= 0 {
		return ""
	}
	return "took " + t.CostTime.String()
}

// shorten cuts at a character's boundary, and says how much is missing.
func shorten(s string, limit int) string {
	short, cut := text.Shorten(s, limit)
	if cut {
		short += fmt.Sprintf("… (%d bytes more)", len(s)-len(short))
	}
	return short
}

// jsonMessage is the line of a message: its position in the stream, its subject, and its
// CloudEvent in the JSON event format (1.0.2), or the error if it has none.
type jsonMessage struct {
	Sequence uint64         `json:"sequence"`
	Stored   time.Time      `json:"stored"`
	Subject  string         `json:"subject"`
	Event    map[string]any `json:"event,omitempty"`
	Error    string         `json:"error,omitempty"`
}

// JSON writes a message as one line: its position in the stream, and the CloudEvent in the
// JSON event format, whatever its content mode. The error is the writer's.
func JSON(w io.Writer, m streamreader.Message) error {
	line := jsonMessage{Sequence: m.Sequence, Stored: m.Stored.UTC(), Subject: m.Subject}
	if m.Err != nil {
		line.Error = m.Err.Error()
	} else {
		line.Event = m.Event.JSONFormat()
	}
	return text.WriteJSON(w, line)
}
