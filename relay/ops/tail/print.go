package tail

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/stored"
	"github.com/apixo-relay/apixo-relay/relay/ops/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Colors of a terminal (ECMA-48, SGR).
const (
	green  = "\x1b[32m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	dim    = "\x1b[2m"
	plain  = "\x1b[0m"
)

// Text writes a message for a person: a line for each, and a line below it for
// each further URL. It returns what w returns.
func Text(w io.Writer, m stored.Message, color bool) error {
	paint := func(c, s string) string {
		if !color {
			return s
		}
		return c + s + plain
	}
	var b strings.Builder
	line := func(c, word, what, rest string) {
		fmt.Fprintf(&b, "%s %6d  %s  %s%s  %s\n", paint(dim, m.Stored.Local().Format(time.DateTime)), m.Sequence,
			paint(c, fmt.Sprintf("%-8s", word)), text.Line(what), paint(dim, labels(m.Event)), text.Line(rest))
	}
	task, taskErr := m.Event.Task()
	switch {
	case m.Err != nil:
		line(yellow, "unknown", m.Subject, m.Err.Error())
	case m.Event.Type == schema.TypeWebhookRejected || m.Event.Type == schema.TypeWebhookConflict:
		word, what := "rejected", m.Event.Extensions["reason"]
		if m.Event.Type == schema.TypeWebhookConflict {
			word, what = "conflict", m.Event.Subject // the task
		}
		line(yellow, word, what, m.Event.Extensions["detail"])
		fmt.Fprintf(&b, "    %s\n", text.Line(shorten(string(m.Event.Data), maxShownBody)))
	case taskErr != nil:
		line(yellow, "unknown", m.Event.ID, taskErr.Error())
	case task.State == schema.StateFailed:
		line(red, "failed", task.ID, strings.TrimSpace(task.FailCode+" "+task.FailMsg))
	default:
		line(green, "success", task.ID, took(task))
		for _, url := range task.ResultURLs {
			fmt.Fprintf(&b, "    %s\n", text.Line(url))
		}
		if len(task.ResultURLs) == 0 && task.ResultJSON != nil {
			fmt.Fprintf(&b, "    %s\n", text.Line(shorten(string(task.ResultJSON), maxShownBody)))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// maxShownBody bounds what is shown of a body or a result without addresses.
const maxShownBody = 200

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

// jsonEvent is a CloudEvent in the JSON event format (1.0.2), with the message's
// place in the stream beside it.
type jsonMessage struct {
	Sequence uint64         `json:"sequence"`
	Stored   time.Time      `json:"stored"`
	Subject  string         `json:"subject"`
	Event    map[string]any `json:"event,omitempty"`
	Error    string         `json:"error,omitempty"`
}

// JSON writes a message as one line: its place in the stream, and the CloudEvent
// in the JSON event format whichever mode it came in.
func JSON(w io.Writer, m stored.Message) error {
	line := jsonMessage{Sequence: m.Sequence, Stored: m.Stored.UTC(), Subject: m.Subject}
	if m.Err != nil {
		line.Error = m.Err.Error()
	} else {
		line.Event = m.Event.JSONFormat()
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(line)
}
