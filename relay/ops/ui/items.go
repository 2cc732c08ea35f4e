package ui

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// maxDetail bounds what a list shows of an explanation, in bytes.
const maxDetail = 200

// item is a message in a list.
type item struct {
	Sequence, Serial    uint64
	Stored              time.Time
	Link, Name          string
	State, Model, Glyph string
	Detail, More        string
	Thumbs              []string
}

// kindOf is the word that a list has for what a message is.
func kindOf(m streamreader.Message) string {
	switch {
	case m.Err != nil:
		return "unknown"
	case m.Event.Type == schema.TypeTaskSuccess:
		return "success"
	case m.Event.Type == schema.TypeTaskFailed:
		return "failed"
	case m.Event.Type == schema.TypeWebhookConflict:
		return "conflict"
	case m.Event.Type == schema.TypeTaskMissing:
		return "missing"
	case m.Event.Type == schema.TypeWebhookRejected, m.Event.Type == schema.TypeAnnouncementRejected:
		return "rejected"
	}
	return "unknown"
}

// kindAndReason is the word for a message of the quarantine, with the reason if that says more.
func kindAndReason(m streamreader.Message) string {
	kind, reason := kindOf(m), text.Line(m.Event.Reason())
	if kind == reason || reason == "" {
		return kind
	}
	return kind + ": " + reason
}

// glyphs stand where a list has no picture.
var glyphs = map[string]string{"success": "✓", "failed": "✕", "conflict": "≠", "missing": "?", "rejected": "!", "unknown": "·"}

// taskPath is where a task is shown. Dots alone, which an id may be, would lead to another
// path.
func taskPath(id string) string {
	if isDots(id) {
		return "/tasks?id=" + id
	}
	return "/tasks/" + url.PathEscape(id)
}

func isDots(id string) bool { return id == "." || id == ".." }

// item makes the row of a message.
func (s *Server) item(m streamreader.Message) item {
	i := item{Sequence: m.Sequence, Stored: m.Stored, State: kindOf(m), Model: text.Line(m.Event.Model())}
	switch i.State {
	case "success", "failed":
		i.Name, i.Link = text.Line(m.Event.ID), taskPath(m.Event.ID)
		task, err := m.Event.Task()
		if err != nil {
			i.Detail = err.Error()
			break
		}
		if i.State == "failed" {
			i.Detail = shorten(strings.TrimSpace(task.FailCode + " " + task.FailMsg))
			break
		}
		if task.CostTime > 0 {
			i.Detail = "took " + text.Duration(task.CostTime)
		}
		i.Thumbs = s.thumbs(task)
		addresses, more := task.Addresses(maxMedia)
		if n := len(addresses) + more; n == 1 {
			i.More = "1 file"
		} else {
			i.More = strconv.Itoa(n) + " files"
		}
	case "rejected", "conflict", "missing":
		i.Link = quarantinePath(m.Sequence)
		i.Name = text.Line(m.Event.Subject)
		if i.Name == "" {
			i.Name = text.Line(m.Event.Reason())
		}
		i.Detail = shorten(m.Event.Detail())
	default:
		i.Name, i.Link = text.Line(m.Subject), "/events"
		if m.Err != nil {
			i.Detail = shorten(m.Err.Error())
		}
	}
	i.Glyph = glyphs[i.State]
	return i
}

func quarantinePath(sequence uint64) string {
	return "/quarantine/" + digits(sequence)
}

// shorten makes of foreign text a line that fits into a list.
func shorten(s string) string {
	short, cut := text.Shorten(text.Line(s), maxDetail)
	if cut {
		short += "…"
	}
	return short
}

// digits writes a sequence as it stands in addresses and command lines.
func digits(sequence uint64) string { return strconv.FormatUint(sequence, 10) }
