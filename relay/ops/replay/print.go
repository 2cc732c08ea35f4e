package replay

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/text"
)

// WriteText writes what came of a message as one line for a person to read: what it is, and
// behind an arrow what it was answered. The form may change; scripts use the JSON one. The
// error is the writer's.
func (d Delivery) WriteText(w io.Writer, color bool) error {
	what, answer := d.look()
	line := fmt.Sprintf("%s %6d  %s  %s", text.Paint(color, text.Faint, d.Stored.Local().Format(time.DateTime)), d.Sequence,
		text.Paint(color, what, fmt.Sprintf("%-8s", word(d.Type))), idOf(d))
	if d.Model != "" {
		line += text.Paint(color, text.Faint, " model="+text.Line(d.Model))
	}
	line += " → " + text.Paint(color, answer, d.answer())
	if d.Attempts > 0 {
		line += "  " + text.Duration(d.Duration)
	}
	_, err := io.WriteString(w, line+"\n")
	return err
}

// look returns the colors of what a message is, and of what came of it.
func (d Delivery) look() (what, answer text.Color) {
	switch word(d.Type) {
	case "success":
		what = text.Green
	case "failed":
		what = text.Red
	default:
		what = text.Yellow
	}
	switch d.Outcome {
	case Delivered:
		answer = text.Green
	case Failed:
		answer = text.Red
	default:
		answer = text.Yellow
	}
	return what, answer
}

// answer says in words what came of a message.
func (d Delivery) answer() string {
	switch d.Outcome {
	case Selected:
		return "would be delivered"
	case Failed:
		return d.Reason
	case Skipped:
		return "skipped: " + text.Line(d.Reason)
	case Unfinished:
		return "not delivered: " + d.Reason
	}
	answer := d.Status
	if answer == "" {
		answer = "delivered"
	}
	if d.Attempts > 1 {
		answer += fmt.Sprintf(" (after %d attempts)", d.Attempts)
	}
	return answer
}

// idOf is the task's id, whole, or else what the message has for one.
func idOf(d Delivery) string {
	for _, id := range []string{d.Subject, d.ID} {
		if id = text.Line(id); id != "" {
			return id
		}
	}
	return "-"
}

// word is the end of an event's type: success, failed, rejected, conflict, missing.
func word(eventType string) string {
	ours, ok := strings.CutPrefix(eventType, "ai.apixo.")
	if word := text.Line(ours[strings.LastIndexByte(ours, '.')+1:]); ok && word != "" {
		return word
	}
	return "unknown"
}

// jsonDelivery is the line of a delivery.
type jsonDelivery struct {
	Position
	Type       string  `json:"type,omitempty"`
	Subject    string  `json:"subject,omitempty"`
	Model      string  `json:"model,omitempty"`
	Outcome    Outcome `json:"outcome"`
	Delivered  bool    `json:"delivered"`
	Status     string  `json:"status,omitempty"`
	Reason     string  `json:"reason,omitempty"`
	Attempts   int     `json:"attempts"`
	DurationMS float64 `json:"durationMs"`
}

// WriteJSON writes what came of a message as one line of JSON, under stable names. The error
// is the writer's.
func (d Delivery) WriteJSON(w io.Writer) error {
	return text.WriteJSON(w, jsonDelivery{
		Position: d.Position, Type: d.Type, Subject: d.Subject, Model: d.Model,
		Outcome: d.Outcome, Delivered: d.Outcome == Delivered, Status: d.Status, Reason: d.Reason,
		Attempts: d.Attempts, DurationMS: float64(d.Duration.Microseconds()) / 1000,
	})
}
