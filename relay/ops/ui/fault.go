package ui

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// maxShownBody bounds what is shown of a body, in bytes around its fault: the rest is for
// those who download it.
const maxShownBody = 64 << 10

// markedText is foreign text with a fault in it. It is text: nothing in it is markup.
type markedText struct {
	Before, Fault, After string
	Marked, Empty        bool
	Note                 string
}

// markFault returns a body as text and, where it is JSON, indented, each with the place that
// its rejection is about.
func markFault(e schema.Event) (asText markedText, asJSON *markedText) {
	body := e.Data
	asText.Empty = len(body) == 0
	begin, end := faultIn(body, e.Reason(), e.Detail())
	asText = mark(body, begin, end)
	asText.Empty = len(body) == 0
	indented := jsontext.Value(bytes.Clone(body))
	if len(body) > maxShownBody || indented.Indent(jsontext.AllowDuplicateNames(true), jsontext.WithIndent("  ")) != nil {
		return asText, nil
	}
	begin, end = faultIn(indented, e.Reason(), e.Detail())
	marked := mark(indented, begin, end)
	return asText, &marked
}

// mark cuts a text at its fault, so that no more than is shown is left.
func mark(body []byte, begin, end int) (m markedText) {
	from, to := 0, len(body)
	if to > maxShownBody {
		from = max(0, begin-maxShownBody/2)
		to = min(len(body), from+maxShownBody)
		m.Note = fmt.Sprintf("Bytes %s to %s of %s are shown; the download has all of them.", text.Count(from), text.Count(to), text.Count(len(body)))
	}
	end = min(end, to)
	m.Marked = end > begin
	m.Before, m.Fault, m.After = visible(body[from:begin]), visible(body[begin:end]), visible(body[end:to])
	if m.Marked && begin == len(body) {
		m.Fault = "⟨end⟩"
	}
	return m
}

// visible makes text of bytes from outside: what is no text, or would steer what shows it,
// is a mark of replacement.
func visible(b []byte) string { return text.Printable(string(b)) }

// member finds the name of the one that an explanation is about.
var member = regexp.MustCompile(`^(?:data\.)?([A-Za-z]+) (?:is|holds|beside) `)

// faultIn returns where in a body its fault is; begin and end are equal where that is not known.
func faultIn(body []byte, reason, detail string) (begin, end int) {
	if at := invalidUTF8(body); at >= 0 {
		_, size := utf8.DecodeRune(body[at:])
		return at, at + max(size, 1)
	}
	if at, ok := syntaxFault(body); ok {
		end := at + 1
		for end < len(body) && !utf8.RuneStart(body[end]) {
			end++
		}
		return at, min(end, len(body))
	}
	name := ""
	switch reason {
	case schema.CodeTaskID:
		name = "taskId"
	case schema.CodeState:
		name = "state"
	case schema.CodeResultJSON:
		name = "resultJson"
	case schema.CodeModel:
		name = "model"
	case schema.CodeMemberType:
		if match := member.FindStringSubmatch(detail); match != nil {
			name = match[1]
		}
	}
	if name == "" {
		return 0, 0
	}
	return valueOf(body, name)
}

// invalidUTF8 returns where a body is no UTF-8, or -1.
func invalidUTF8(b []byte) int {
	for at := 0; at < len(b); {
		r, size := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

// syntaxFault returns where a body is not one JSON text, as the relay reads it.
func syntaxFault(body []byte) (at int, found bool) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if _, err := d.ReadValue(); err != nil {
		syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
		switch {
		case ok:
			return min(int(syntactic.ByteOffset), max(len(body)-1, 0)), len(body) > 0
		default:
			return max(len(body)-1, 0), len(body) > 0
		}
	}
	rest := bytes.TrimLeft(body[d.InputOffset():], " \t\r\n")
	if len(rest) > 0 {
		return len(body) - len(rest), true
	}
	return 0, false
}

// valueOf returns where the value of a member is, of data or else of the body itself.
func valueOf(body []byte, name string) (begin, end int) {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))
	for {
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) || err != nil {
			return begin, end
		}
		kind, n := d.StackIndex(d.StackDepth())
		if kind != jsontext.KindBeginObject || n%2 == 0 || token.Kind() != jsontext.KindString || token.String() != name {
			continue
		}
		pointer := string(d.StackPointer())
		if pointer != "/data/"+name && pointer != "/"+name {
			continue
		}
		value, err := d.ReadValue()
		if err != nil {
			return begin, end
		}
		end = int(d.InputOffset())
		begin = end - len(value)
		if strings.HasPrefix(pointer, "/data/") {
			return begin, end
		}
	}
}

// sortedNames are the names of attributes in order.
func sortedNames(attributes map[string]string) []string {
	return slices.Sorted(maps.Keys(attributes))
}
