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

// fault is the place in a body that its rejection is about. Where something is missing at the
// end, it begins there.
type fault struct {
	begin, end int
	known      bool
}

// faultAt is a fault from an offset on.
func faultAt(begin, end int) fault { return fault{begin, end, true} }

// markFault returns a body as text and, where it is JSON, indented, each with the place that
// its rejection is about.
func markFault(e schema.Event) (asText markedText, asJSON *markedText) {
	body := e.Data
	found := faultIn(body, e.Reason(), e.Detail())
	asText = mark(body, found)
	asText.Empty = len(body) == 0
	// What nests deep would become a thousand times as large.
	if _, deep := depthFault(body); deep || len(body) > maxShownBody {
		return asText, nil
	}
	indented := jsontext.Value(bytes.Clone(body))
	if indented.Indent(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.WithIndent("  ")) != nil || !utf8.Valid(body) {
		return asText, nil
	}
	marked := mark(indented, faultIn(indented, e.Reason(), e.Detail()))
	return asText, &marked
}

// mark cuts a text at its fault, so that no more than is shown is left.
func mark(body []byte, f fault) (m markedText) {
	from, to := 0, len(body)
	if to > maxShownBody {
		from = max(0, f.begin-maxShownBody/2)
		to = min(len(body), from+maxShownBody)
		for range utf8.UTFMax - 1 { // no character is cut
			if from < f.begin && !utf8.RuneStart(body[from]) {
				from++
			}
			if to < len(body) && to > f.begin && !utf8.RuneStart(body[to]) {
				to--
			}
		}
		m.Note = fmt.Sprintf("Bytes %s to %s of %s are shown; the download has all of them.", text.Count(from), text.Count(to), text.Count(len(body)))
	}
	m.Marked = f.known && len(body) > 0
	end := min(f.end, to)
	m.Before, m.Fault, m.After = visible(body[from:f.begin]), visible(body[f.begin:end]), visible(body[end:to])
	switch {
	case !m.Marked || m.Fault != "":
	case f.begin == len(body):
		m.Fault = "⟨end⟩"
	default:
		m.Fault = "⟨CR⟩" // the only character that is shown as nothing
	}
	return m
}

// visible makes text of bytes from outside: what is no text, or would steer what shows it,
// is a mark of replacement.
func visible(b []byte) string { return text.Printable(string(b)) }

// member finds the name of the one that an explanation is about.
var member = regexp.MustCompile(`^(?:data\.)?([A-Za-z]+) (?:is|holds|beside) `)

// faultIn returns where in a body its fault is.
func faultIn(body []byte, reason, detail string) fault {
	switch reason {
	case schema.ReasonContentType, schema.ReasonContentEncoding, schema.ReasonConflict, schema.ReasonNotConfirmed:
		return fault{} // it is none of the body
	}
	if at := invalidUTF8(body); at >= 0 {
		return faultAt(at, at+1)
	}
	if f, found := depthFault(body); found {
		return f
	}
	if f, found := syntaxFault(body); found {
		return f
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
	switch name {
	case "":
		return fault{}
	case "it":
		begin := len(body) - len(bytes.TrimLeft(body, jsonSpace))
		return faultAt(begin, len(bytes.TrimRight(body, jsonSpace)))
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

// jsonSpace is what JSON knows as white space.
const jsonSpace = " \t\r\n"

// depthFault returns the bracket that nests deeper than the relay reads, if there is one before
// any other fault.
func depthFault(body []byte) (f fault, found bool) {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		if _, err := d.ReadToken(); err != nil {
			return fault{}, false
		}
		if at := int(d.InputOffset()); d.StackDepth() > schema.MaxDepth {
			return faultAt(at-1, at), true
		}
	}
}

// syntaxFault returns where a body is not one JSON text, as the relay reads it: the escape of a
// lone surrogate is none of its faults.
func syntaxFault(body []byte) (f fault, found bool) {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadValue(); err != nil {
		syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
		if !ok || errors.Is(err, io.ErrUnexpectedEOF) || int(syntactic.ByteOffset) >= len(body) {
			return faultAt(len(body), len(body)), true
		}
		at := int(syntactic.ByteOffset)
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return faultAt(at, at+nameAt(body[at:])), true
		}
		_, size := utf8.DecodeRune(body[at:])
		return faultAt(at, at+size), true
	}
	rest := bytes.TrimLeft(body[d.InputOffset():], jsonSpace)
	if len(rest) > 0 {
		begin := len(body) - len(rest)
		return faultAt(begin, begin+len(bytes.TrimRight(rest, jsonSpace))), true
	}
	return fault{}, false
}

// nameAt is how long the string is that a text begins with.
func nameAt(text []byte) int {
	d := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return 1
	}
	return int(d.InputOffset())
}

// valueOf returns where the value of a member is, of data or else of the body itself.
func valueOf(body []byte, name string) (f fault) {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return f
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
			return f
		}
		end := int(d.InputOffset())
		f = faultAt(end-len(value), end)
		if strings.HasPrefix(pointer, "/data/") {
			return f
		}
	}
}

// sortedNames are the names of attributes in order.
func sortedNames(attributes map[string]string) []string {
	return slices.Sorted(maps.Keys(attributes))
}
