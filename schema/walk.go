package schema

import (
	"bytes"
	"iter"

	"github.com/go-json-experiment/json/jsontext"
)

// What is here reads in texts that validate accepted, and relies on it: where
// the syntax is known to be right, finding the end of a value takes no parser.
// All values alias the text.

// member is a member of an object.
type member struct {
	name  []byte // unquoted
	value jsontext.Value
	at    int // the offset of the value in the object
}

// members are the members of an object.
func members(object jsontext.Value) iter.Seq[member] {
	return func(yield func(member) bool) {
		for i := skipSpace(object, skipSpace(object, 0)+1); object[i] != '}'; {
			nameEnd := stringEnd(object, i)
			name := unquoteText(object[i:nameEnd])
			i = skipSpace(object, skipSpace(object, nameEnd)+1) // behind the colon
			end := valueEnd(object, i)
			if !yield(member{name, object[i:end:end], i}) {
				return
			}
			i = nextItem(object, end)
		}
	}
}

// elements are the elements of an array.
func elements(array jsontext.Value) iter.Seq[jsontext.Value] {
	return func(yield func(jsontext.Value) bool) {
		for i := skipSpace(array, skipSpace(array, 0)+1); array[i] != ']'; {
			end := valueEnd(array, i)
			if !yield(array[i:end:end]) {
				return
			}
			i = nextItem(array, end)
		}
	}
}

// skipSpace is where something other than white space stands, from i on.
func skipSpace(text []byte, i int) int {
	for text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n' {
		i++
	}
	return i
}

// nextItem is where the next member or element begins, or else the closing
// bracket stands, behind one that ends at end.
func nextItem(text []byte, end int) int {
	i := skipSpace(text, end)
	if text[i] == ',' {
		i = skipSpace(text, i+1)
	}
	return i
}

// valueEnd is the end of the value that begins at i.
func valueEnd(text []byte, i int) int {
	switch text[i] {
	case '"':
		return stringEnd(text, i)
	case '{', '[':
		for depth := 0; ; i++ {
			switch text[i] {
			case '"':
				i = stringEnd(text, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	default:
		for ; ; i++ {
			switch text[i] {
			case ',', ']', '}', ' ', '\t', '\r', '\n': // one of which has to follow
				return i
			}
		}
	}
}

// stringEnd is the end of the string that begins at i, behind its quote.
func stringEnd(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// unquoteText is what a string says. It aliases the string if nothing in that is escaped.
func unquoteText(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	// No error: the string is known to be well-formed.
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return text
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
