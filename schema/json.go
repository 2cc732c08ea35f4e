package schema

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep arrays and objects may nest. APIXO's webhooks have two
// levels; the bound keeps consumers safe whose readers recurse.
const MaxDepth = 64

// validate returns text if it is one JSON text that every reader understands in
// the same way, and a repaired copy if nothing but lone surrogates keeps it from
// being one. Otherwise its error is an [Error] of kind ErrNotJSON.
func validate(text []byte) (valid []byte, repaired bool, err error) {
	if isValid(text) {
		return text, false, nil
	}
	valid = replaceSurrogates(text)
	if bytes.Equal(valid, text) || !isValid(valid) {
		return nil, false, explainSyntax(valid)
	}
	return valid, true, nil
}

func isValid(text []byte) bool { return !tooDeep(text) && jsontext.Value(text).IsValid() }

// explainSyntax says what is wrong with a text that is not valid.
func explainSyntax(text []byte) error {
	switch {
	case len(trimSpace(text)) == 0:
		return notJSON(CodeEmpty, "there is nothing in it")
	case !utf8.Valid(text):
		return notJSON(CodeInvalidUTF8, "the byte at offset %d is not UTF-8", invalidUTF8(text))
	case tooDeep(text):
		return notJSON(CodeTooDeep, "arrays and objects nest deeper than %d levels", MaxDepth)
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
	if _, err := d.ReadValue(); err != nil {
		return syntaxError(err, len(text))
	}
	return notJSON(CodeTrailingData, "the JSON text ends at offset %d, and more follows", d.InputOffset())
}

// trimSpace takes off what JSON knows as white space, which is less than what
// Unicode does.
func trimSpace(text []byte) []byte { return bytes.Trim(text, " \t\r\n") }

func syntaxError(err error, size int) error {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return notJSON(CodeSyntax, "it ends at offset %d in the middle of a value", size)
	case !errors.As(err, &syntax):
		return notJSON(CodeSyntax, "%s", quote(err.Error()))
	case errors.Is(err, jsontext.ErrDuplicateName):
		return notJSON(CodeDuplicateMember, "the member %s stands twice in one object (at offset %d)", quote(string(syntax.JSONPointer)), syntax.ByteOffset)
	default:
		return notJSON(CodeSyntax, "at offset %d: %s", syntax.ByteOffset, quote(syntax.Err.Error()))
	}
}

func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// tooDeep reports whether arrays and objects nest deeper than MaxDepth in a text, up
// to its first syntax error.
func tooDeep(text []byte) bool {
	// Nothing nests deeper than it has brackets, and most webhooks have few.
	if bytes.Count(text, []byte("{"))+bytes.Count(text, []byte("[")) <= MaxDepth {
		return false
	}
	d := newDecoder(text)
	for d.StackDepth() <= MaxDepth {
		if _, err := d.ReadToken(); err != nil {
			return false
		}
	}
	return true
}

// replaceSurrogates returns a copy of a JSON text in which the escape of each
// lone surrogate is that of U+FFFD, as browsers and encoding/json read it. Nothing
// else changes, and nothing moves, for the two escapes are of one length; the JSON
// library would write all strings anew, and a regular expression takes ten times as
// long.
func replaceSurrogates(text []byte) []byte {
	const escape = `\ufffd`
	text = bytes.Clone(text)
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		switch unit := escapedUnit(text[i:]); {
		case !utf16.IsSurrogate(unit):
			i++ // to what is escaped, which may be a backslash
		case utf16.DecodeRune(unit, escapedUnit(text[i+len(escape):])) != unicode.ReplacementChar:
			i += 2*len(escape) - 1
		default:
			i += copy(text[i:], escape) - 1
		}
	}
	return text
}

// escapedUnit returns the UTF-16 code unit whose escape a text begins with, or 0.
func escapedUnit(text []byte) rune {
	if len(text) < len(`\uXXXX`) || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	unit, _ := strconv.ParseUint(string(text[2:len(`\uXXXX`)]), 16, 16) // 0 with an error
	return rune(unit)
}

// The functions below read texts that validate accepted: no decoder returns an error
// before their end.

// member is a member of an object.
type member struct {
	name  []byte // unquoted
	value jsontext.Value
	at    int // the offset of the value in the object
}

// members returns the members of an object. They alias it.
func members(object jsontext.Value) iter.Seq[member] {
	return func(yield func(member) bool) {
		d := newDecoder(object)
		_, _ = d.ReadToken() // the opening brace
		for hasMore(d) {
			name, _ := readValue(d, object)
			value, at := readValue(d, object)
			if !yield(member{unquoteText(name), value, at}) {
				return
			}
		}
	}
}

// elements returns the elements of an array. They alias it.
func elements(array jsontext.Value) iter.Seq[jsontext.Value] {
	return func(yield func(jsontext.Value) bool) {
		d := newDecoder(array)
		_, _ = d.ReadToken() // the opening bracket
		for hasMore(d) {
			if value, _ := readValue(d, array); !yield(value) {
				return
			}
		}
	}
}

// newDecoder returns a decoder that checks syntax alone. What else validate checks
// costs too much to be checked twice.
func newDecoder(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// hasMore reports whether another member or element follows in an object or array.
func hasMore(d *jsontext.Decoder) bool {
	switch d.PeekKind() {
	case jsontext.KindEndObject, jsontext.KindEndArray, jsontext.KindInvalid:
		return false
	}
	return true
}

// readValue returns the next value of the text that d reads, and its offset there.
// The value is a part of the text: those that d returns are good until its next read.
func readValue(d *jsontext.Decoder, text []byte) (value jsontext.Value, at int) {
	value, _ = d.ReadValue()
	end := int(d.InputOffset())
	at = end - len(value)
	return text[at:end:end], at
}

// unquoteText returns what a JSON string says. It aliases the string if nothing in it
// is escaped.
func unquoteText(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	// No error: the string is known to be well-formed.
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return text
}

// kindName returns what a value is, for errors.
func kindName(v jsontext.Value) string {
	switch v.Kind() {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a truth value"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginArray:
		return "an array"
	default:
		return "an object"
	}
}
