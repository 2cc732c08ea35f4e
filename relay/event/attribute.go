package event

import (
	"regexp"
	"unicode"
	"unicode/utf8"
)

// MaxAttributeBytes bounds the value of a callback attribute: a model's name
// has a few dozen characters, and each event carries the attributes with it.
const MaxAttributeBytes = 256

// ValidAttribute reports whether a value from outside can be a CloudEvents
// attribute of type String (CloudEvents 1.0.2, section 3.1.1): UTF-8 of at
// most MaxAttributeBytes, without control characters and noncharacters, and
// not empty.
func ValidAttribute(value string) bool {
	return value != "" && len(value) <= MaxAttributeBytes && isText(value)
}

// isText reports whether a value is UTF-8 without control characters and noncharacters.
func isText(value string) bool {
	if !utf8.ValidString(value) {
		return false
	}
	for _, r := range value {
		if unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r) {
			return false
		}
	}
	return true
}

// SelectAttributes picks what becomes attributes of an event: those with the given names,
// and a trace context. get returns the value of a name, or nothing. What cannot be an
// attribute is dropped, and the names of these are returned too.
func SelectAttributes(names []string, get func(name string) string) (attributes map[string]string, dropped []string) {
	attributes = make(map[string]string, len(names))
	take := func(name string, valid func(string) bool) {
		switch value := get(name); {
		case value == "":
		case valid(value):
			attributes[name] = value
		default:
			dropped = append(dropped, name)
		}
	}
	for _, name := range names {
		take(name, ValidAttribute)
	}
	take(traceParentName, ValidTraceParent)
	if attributes[traceParentName] != "" {
		take(traceStateName, ValidTraceState)
	}
	return attributes, dropped
}

// maxTraceState is not in the expression, which would be compiled that many times over.
const maxTraceState = 512

var (
	traceParent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
	zeroIDs     = regexp.MustCompile(`^(ff-|..-0{32}-|..-.{32}-0{16}-)`)
	traceState  = regexp.MustCompile(`^[\x20-\x7e]+$`)
)

// ValidTraceParent reports whether a value is a traceparent (W3C Trace Context, section 3.2).
func ValidTraceParent(value string) bool {
	return traceParent.MatchString(value) && !zeroIDs.MatchString(value)
}

// ValidTraceState reports whether a value may be a tracestate (W3C Trace
// Context, section 3.3): printable ASCII within the size that everybody must pass on.
func ValidTraceState(value string) bool {
	return len(value) <= maxTraceState && traceState.MatchString(value)
}
