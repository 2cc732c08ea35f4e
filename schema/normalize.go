package schema

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// memberSet is a set of members of a webhook.
type memberSet uint16

// The members that can be normalized, in the order of memberNames.
const (
	memberCode memberSet = 1 << iota
	memberMessage
	memberResultJSON
	memberResultURLs
	memberCostTime
	memberFailCode
	memberFailMsg
	memberCreateTime
	memberCompleteTime
	memberOther
)

var memberNames = [...]string{"code", "message", "resultJson", "resultUrls", "costTime", "failCode", "failMsg", "createTime", "completeTime", "other"}

// NormalizedMembers are all names that [Webhook.Normalized] can hold, in the order
// in which it holds them: no name in a webhook adds to them. The slice is the
// caller's.
func NormalizedMembers() []string { return slices.Clone(memberNames[:]) }

func (s memberSet) names() (names []string) {
	for i, name := range memberNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// memberNamed is the member of the data object with a name, or else memberOther.
func memberNamed(name string) memberSet {
	for i, known := range memberNames {
		if known == name && 1<<i >= memberResultJSON {
			return 1 << i
		}
	}
	return memberOther
}

// What readText, readNumber and readTime report of a value: told is false if it
// counts as not told, and exact if it is null or of the type that is documented,
// so that it stays as it is.

// readText reads a text. A number is taken for its text, as it is spelt.
func readText(v jsontext.Value) (text string, told, exact bool) {
	switch v.Kind() {
	case jsontext.KindString:
		return string(unquoteText(v)), true, true
	case jsontext.KindNumber:
		return string(v), true, false
	}
	return "", false, v.Kind() == jsontext.KindNull
}

// readNumber reads a whole number, 1e3 and 1000.0 too. A fraction is rounded, and
// the text of a number, as JSON spells it, is taken for the number.
func readNumber(v jsontext.Value) (n int64, told, exact bool) {
	switch v.Kind() {
	case jsontext.KindNumber:
		n, whole, fits := roundNumber(string(v))
		return n, fits, fits && whole
	case jsontext.KindString:
		if number := unquoteText(v); isNumber(number) {
			n, _, fits := roundNumber(string(number))
			return n, fits, false
		}
	}
	return 0, false, v.Kind() == jsontext.KindNull
}

// readTime reads a time in milliseconds since 1970 as readNumber does, and takes
// a time by RFC 3339 for its milliseconds.
func readTime(v jsontext.Value) (ms int64, told, exact bool) {
	ms, told, exact = readNumber(v)
	if told || v.Kind() != jsontext.KindString {
		return ms, told, exact
	}
	t, ok := parseTime(string(unquoteText(v)))
	if !ok {
		return 0, false, false
	}
	return t.Round(time.Millisecond).UnixMilli(), true, false
}

// parseTime reads a time by RFC 3339, which lets T and Z be in lower case (section
// 5.6) where time.Parse does not, and knows no hours of one digit, commas and
// offsets of a day where that does (https://go.dev/issue/54580).
func parseTime(text string) (t time.Time, ok bool) {
	text = strings.ToUpper(text)
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || text[13] != ':' || strings.Contains(text, ",") {
		return time.Time{}, false
	}
	zone := text[len(text)-len("00:00"):]
	return t, strings.HasSuffix(text, "Z") || zone[:2] < "24" && zone[3:] < "60"
}

// isNumber reports whether a text is a number as JSON spells it, and nothing besides.
func isNumber(text jsontext.Value) bool {
	return text.Kind() == jsontext.KindNumber && text.IsValid() && !bytes.ContainsAny(text, " \t\r\n")
}

// maxInteger is the greatest whole number that every JSON reader keeps exact (RFC
// 7493, section 2.2), and has maxDigits.
const (
	maxInteger = 1<<53 - 1
	maxDigits  = 16
)

// roundNumber is the whole number that is nearest to a JSON number, halves rounded
// away from zero. It goes by the digits, where a float64 takes 0.99999999999999999
// for 1. whole reports that there was nothing to round, fits that the result is at
// most maxInteger; it is 0 otherwise.
func roundNumber(number string) (n int64, whole, fits bool) {
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && -maxInteger <= n && n <= maxInteger {
		return n, true, true // as nearly all are spelt
	}
	mantissa, power, _ := strings.Cut(strings.ToLower(number), "e")
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	before, behind, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(before+behind, "0")
	point := len(digits) - len(behind) // so many of the digits stand before the point
	digits = strings.TrimRight(digits, "0")
	if digits == "" {
		return 0, true, true
	}
	if power != "" {
		exponent, err := strconv.ParseInt(power, 10, 32)
		if err != nil { // out of range, and so further than any number of digits
			return 0, false, power[0] == '-'
		}
		point += int(exponent)
	}
	switch {
	case point > maxDigits:
		return 0, false, false
	case point < 0:
		return 0, false, true
	}
	whole = len(digits) <= point
	up := !whole && digits[point] >= '5'
	digits = (digits + strings.Repeat("0", maxDigits))[:point]
	n, _ = strconv.ParseInt("0"+digits, 10, 64) // no error: they are at most maxDigits
	if up {
		n++
	}
	if n > maxInteger {
		return 0, false, false
	}
	if negative {
		n = -n
	}
	return n, whole, true
}

var null = jsontext.Value("null")

// normalize notes that a member is published with another value, null if that is nil.
func (r *taskReader) normalize(which memberSet, m member, value []byte) {
	if value == nil {
		value = null
	}
	m.instead = value
	r.replaced = append(r.replaced, m)
	r.normalized |= which
}

// text reads a member that is documented as a text; empty if it is not told.
func (r *taskReader) text(which memberSet, m member) string {
	text, told, exact := readText(m.value)
	switch {
	case exact:
	case told:
		r.normalize(which, m, []byte(`"`+text+`"`)) // a number's
	default:
		r.normalize(which, m, nil)
	}
	return text
}

// number reads a member that is documented as a whole number, by readNumber or readTime.
func (r *taskReader) number(which memberSet, m member, read func(jsontext.Value) (int64, bool, bool)) (n int64, told bool) {
	n, told, exact := read(m.value)
	switch {
	case exact:
	case told:
		r.normalize(which, m, strconv.AppendInt(nil, n, 10))
	default:
		r.normalize(which, m, nil)
	}
	return n, told
}

// normalizedData is the data object with the values that normalize noted.
func (r *taskReader) normalizedData() jsontext.Value {
	if len(r.replaced) == 0 {
		return r.data
	}
	slices.SortFunc(r.replaced, func(a, b member) int { return a.at - b.at })
	dst, done := make([]byte, 0, len(r.data)+16*len(r.replaced)), 0
	for _, m := range r.replaced {
		at := m.at - r.at
		dst = append(append(dst, r.data[done:at]...), m.instead...)
		done = at + len(m.value)
	}
	return append(dst, r.data[done:]...)
}
