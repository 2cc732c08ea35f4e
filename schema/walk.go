package schema

import (
	"bytes"
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// What is here reads in texts that passed checkSyntax, and relies on it: where
// the syntax is known to be right, finding the end of a value takes no parser.
// All values alias the text.

// members are the members of an object, their names unquoted.
func members(object jsontext.Value) iter.Seq2[[]byte, jsontext.Value] {
	return func(yield func([]byte, jsontext.Value) bool) {
		for i := skipSpace(object, skipSpace(object, 0)+1); object[i] != '}'; {
			nameEnd := stringEnd(object, i)
			name := unquoteText(object[i:nameEnd])
			i = skipSpace(object, skipSpace(object, nameEnd)+1) // behind the colon
			end := valueEnd(object, i)
			if !yield(name, object[i:end:end]) {
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

// textOrNull makes sure that a value is a string or null.
func textOrNull(member string, v jsontext.Value) error {
	switch v.Kind() {
	case jsontext.KindString, jsontext.KindNull:
		return nil
	default:
		return notResult(CodeMemberType, "%s is %s, a string was expected", member, kindName(v))
	}
}

// text reads a string; null leaves dst as it is, like a missing member.
func text(member string, v jsontext.Value, dst *string) error {
	if v.Kind() == jsontext.KindString {
		*dst = string(unquoteText(v))
	}
	return textOrNull(member, v)
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
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && -maxInteger <= n && n <= maxInteger {
		*dst = n // as nearly all are spelt
		return nil
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || math.Abs(f) > maxInteger || !isWhole(string(v)) {
		return notResult(CodeMemberType, "%s is %s, a whole number of at most 53 bits was expected", member, quote(string(v)))
	}
	*dst = int64(f)
	return nil
}

// isWhole reports whether a JSON number is whole, by its digits: a float64
// takes 0.99999999999999999 for 1, and other readers do not.
func isWhole(number string) bool {
	mantissa, power, _ := strings.Cut(strings.ToLower(number), "e")
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(mantissa, "-"), ".")
	digits := strings.TrimRight(whole+fraction, "0")
	if digits == "" {
		return true
	}
	// How far the last digit that counts stands behind the point.
	behind := len(digits) - len(whole)
	if power == "" {
		return behind <= 0
	}
	exponent, err := strconv.Atoi(power)
	if err != nil { // out of range, and so further than any number of digits
		return power[0] != '-'
	}
	return behind <= exponent
}
