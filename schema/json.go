package schema

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep arrays and objects may nest. APIXO's webhooks have two
// levels; the bound keeps consumers safe whose readers recurse.
const MaxDepth = 64

// checkSyntax makes sure that body is one JSON text that every reader
// understands in the same way. It returns an [Error] of kind ErrNotJSON.
func checkSyntax(body []byte) error {
	switch {
	case len(trimSpace(body)) == 0:
		return notJSON(CodeEmpty, "there is nothing in it")
	case !utf8.Valid(body):
		return notJSON(CodeInvalidUTF8, "the byte at offset %d is not UTF-8", invalidUTF8(body))
	case depth(body) > MaxDepth:
		return notJSON(CodeTooDeep, "arrays and objects nest deeper than %d levels", MaxDepth)
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	if _, err := d.ReadValue(); err != nil {
		return syntaxError(err, len(body))
	}
	end := d.InputOffset()
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return notJSON(CodeTrailingData, "the JSON text ends at offset %d, and more follows", end)
	}
	return nil
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

// depth is the deepest nesting of arrays and objects in a JSON text; in bytes
// that are none it is some number, which never comes out too small.
func depth(b []byte) int {
	var depth, deepest int
	inString := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// eachMember calls f for every member of an object in a text that passed
// checkSyntax. The values alias the text.
func eachMember(object []byte, f func(name string, value jsontext.Value) error) error {
	// The names are known to be unique: no need to compare them again.
	d := jsontext.NewDecoder(bytes.NewBuffer(object), jsontext.AllowDuplicateNames(true))
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == jsontext.KindString {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		end := d.InputOffset()
		if err := f(name, object[end-int64(len(value)):end]); err != nil {
			return err
		}
	}
	return nil
}

// kindName says what a value is, for errors.
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

// text reads a string; null leaves dst as it is, like a missing member.
func text(member string, v jsontext.Value, dst *string) error {
	switch v.Kind() {
	case jsontext.KindNull:
		return nil
	case jsontext.KindString:
		b, err := jsontext.AppendUnquote(nil, v)
		*dst = string(b)
		return err
	default:
		return notResult(CodeMemberType, "%s is %s, a string was expected", member, kindName(v))
	}
}

// maxInteger is the greatest whole number that every JSON reader keeps exact (RFC 7493, section 2.2).
const maxInteger = 1<<53 - 1

// integer reads a whole number in any of JSON's spellings of it, 1e3 and 1000.0
// too; null leaves dst as it is, like a missing member.
func integer(member string, v jsontext.Value, dst *int64) error {
	if v.Kind() == jsontext.KindNull {
		return nil
	}
	if v.Kind() != jsontext.KindNumber {
		return notResult(CodeMemberType, "%s is %s, a whole number was expected", member, kindName(v))
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > maxInteger {
		return notResult(CodeMemberType, "%s is %s, a whole number of at most 53 bits was expected", member, quote(string(v)))
	}
	*dst = int64(f)
	return nil
}
