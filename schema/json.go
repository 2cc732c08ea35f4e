package schema

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"strconv"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep arrays and objects may nest. APIXO's webhooks have two
// levels; the bound keeps consumers safe whose readers recurse.
const MaxDepth = 64

// parse reads a text by a function, as decode does, if it is one JSON text that every
// reader understands in the same way, or a repaired copy of it if nothing but lone
// surrogates keeps it from being one. Otherwise its error is an [Error] of kind ErrNotJSON.
// The function may be called twice.
func parse(text []byte, read func(*decoder) error) (valid []byte, repaired bool, err error) {
	valid, err = text, decode(text, read)
	if err == ErrNotJSON {
		valid = replaceSurrogates(text)
		if repaired = !bytes.Equal(valid, text); repaired {
			err = decode(valid, read)
		}
	}
	if err == ErrNotJSON {
		err = explainSyntax(valid)
	}
	return valid, repaired, err
}

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
	d := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
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

// decoder reads a JSON text. After a syntax error it stays where it is, and the values
// that it returns are empty.
type decoder struct {
	jsontext.Decoder
	text []byte
	in   bytes.Buffer
}

// decoders are kept for the memory that they have: a webhook is read by several.
var decoders = sync.Pool{New: func() any { return new(decoder) }}

func (d *decoder) reset(text []byte) *decoder {
	d.text, d.in = text, *bytes.NewBuffer(text)
	d.Reset(&d.in)
	return d
}

// decode reads a text by a function, which may leave some of it unread, and returns its
// error; or ErrNotJSON itself, whatever the function returned, if the text is not valid.
func decode(text []byte, read func(*decoder) error) error {
	if tooDeep(text) {
		return ErrNotJSON
	}
	d := decoders.Get().(*decoder).reset(text)
	defer func() { decoders.Put(d.reset(nil)) }() // without the text, which it would keep
	err := read(d)
	var end error
	for end == nil {
		_, end = d.ReadToken()
	}
	if _, values := d.StackIndex(0); end != io.EOF || values != 1 {
		return ErrNotJSON
	}
	return err
}

// member is the value of a member of an object.
type member struct {
	value   jsontext.Value
	at      int    // its offset in the text
	instead []byte // what is published in its place, where it is normalized
}

// value reads the next value. It is a part of the text: those that ReadValue returns
// are good until the next read.
func (d *decoder) value() member {
	value, _ := d.ReadValue()
	end := int(d.InputOffset())
	at := end - len(value)
	return member{value: d.text[at:end:end], at: at}
}

// members returns the names of the members of an object, unquoted; none of what is no
// object. The value that follows a name may be read, or else is passed over.
func (d *decoder) members() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if brace, _ := d.ReadToken(); brace.Kind() != jsontext.KindBeginObject {
			return
		}
		for d.PeekKind() == jsontext.KindString {
			name := d.value().value
			if len(name) == 0 || !yield(unquoteText(name)) {
				return
			}
			if _, read := d.StackIndex(d.StackDepth()); read%2 != 0 && len(d.value().value) == 0 {
				return
			}
		}
		_, _ = d.ReadToken()
	}
}

// elements returns the elements of an array, which is valid. They alias it.
func elements(array jsontext.Value) iter.Seq[jsontext.Value] {
	return func(yield func(jsontext.Value) bool) {
		_ = decode(array, func(d *decoder) error {
			_, _ = d.ReadToken() // the opening bracket
			for d.PeekKind() != jsontext.KindEndArray && yield(d.value().value) {
			}
			return nil
		})
	}
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
