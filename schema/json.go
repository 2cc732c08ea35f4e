package schema

import (
	"bytes"
	"errors"
	"io"
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
	if copied := replaceSurrogates(text); copied != nil {
		if isValid(copied) {
			return copied, true, nil
		}
		text = copied
	}
	return nil, false, explainSyntax(text)
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

// tooDeep reports whether arrays and objects nest deeper than MaxDepth.
func tooDeep(b []byte) bool {
	// Nothing nests deeper than it has brackets, and most webhooks have few.
	return bytes.Count(b, []byte("{"))+bytes.Count(b, []byte("[")) > MaxDepth && depth(b) > MaxDepth
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
