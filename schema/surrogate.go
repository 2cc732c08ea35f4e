package schema

import (
	"bytes"
	"iter"
	"strconv"
)

// lengthOfEscape is that of \uXXXX.
const lengthOfEscape = 6

// replaceSurrogates returns a copy of a JSON text in which the escape of each
// lone surrogate is that of U+FFFD, as browsers and encoding/json read it. Nothing
// else moves, for the two are of one length. It returns nil if there is none.
func replaceSurrogates(text []byte) (repaired []byte) {
	for i := range loneSurrogates(text) {
		if repaired == nil {
			repaired = bytes.Clone(text)
		}
		copy(repaired[i:], `\ufffd`)
	}
	return repaired
}

// countSurrogates is how many lone surrogates there are.
func countSurrogates(text []byte) (n int) {
	for range loneSurrogates(text) {
		n++
	}
	return n
}

// loneSurrogates are the offsets of the escapes of surrogates that are not one
// half of a pair. In a text that is no JSON they are some escapes of that kind.
func loneSurrogates(text []byte) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 0; i < len(text); i++ {
			if text[i] != '\\' {
				continue
			}
			high, low := surrogate(text[i:])
			switch {
			case !high && !low:
				i++ // to what is escaped, which may be a backslash
				continue
			case high:
				if _, paired := surrogate(text[i+lengthOfEscape:]); paired {
					i += 2*lengthOfEscape - 1
					continue
				}
			}
			if !yield(i) {
				return
			}
		}
	}
}

// surrogate reports which half of a pair is escaped at the beginning of a text,
// if any.
func surrogate(text []byte) (high, low bool) {
	if len(text) < lengthOfEscape || text[0] != '\\' || text[1] != 'u' {
		return false, false
	}
	unit, err := strconv.ParseUint(string(text[2:lengthOfEscape]), 16, 16)
	if err != nil {
		return false, false
	}
	return unit >= 0xd800 && unit < 0xdc00, unit >= 0xdc00 && unit < 0xe000
}
