// Package text formats output for operators: foreign text that cannot steer a terminal, and
// figures with about three digits.
package text

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// Printable replaces invalid UTF-8 and characters that could steer a terminal, including marks
// that change the direction of writing. Line breaks and tabs stay.
func Printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' || unicode.IsPrint(c) {
			return c
		}
		if c == '\r' {
			return -1
		}
		return utf8.RuneError
	}, s)
}

// Line returns foreign text as one line of printable characters.
func Line(s string) string { return strings.Join(strings.Fields(Printable(s)), " ") }

// Shorten cuts text between characters so that it has at most limit bytes.
func Shorten(s string, limit int) (short string, cut bool) {
	if len(s) <= limit {
		return s, false
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit], true
}

// Milliseconds writes a duration with about three digits and its unit.
func Milliseconds(ms float64) string {
	if ms >= 1000 {
		return Number(ms/1000) + " s"
	}
	return Number(ms) + " ms"
}

// Duration writes a duration with about three digits and its unit.
func Duration(d time.Duration) string { return Milliseconds(float64(d.Microseconds()) / 1000) }

// Number writes a number with three digits or, from 1000 on, without decimals.
func Number(x float64) string {
	switch {
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

// Count writes a whole number with a comma between each three digits.
func Count[N int | int64 | uint64](n N) string {
	return humanize.Comma(int64(max(n, 0)))
}
