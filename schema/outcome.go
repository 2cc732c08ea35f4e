package schema

import (
	"bytes"
	"crypto/sha256"
	"math/big"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Outcome is how a task ended: a digest of state, resultJson, failCode and
// failMsg by value. Two deliveries of one result have equal outcomes, whatever
// their white space, the order of members inside resultJson, or the spelling of
// its strings and numbers.
type Outcome struct {
	state                      State
	result, failCode, failText digest
}

type digest [16]byte

// OutcomeOf reads the outcome out of the data of a task's event, or out of a
// webhook's data object. It returns an [Error] if that is no task.
func OutcomeOf(data []byte) (Outcome, error) {
	var r taskReader
	if _, _, err := parse(data, r.read); err != nil {
		return Outcome{}, err
	}
	result := canonical(r.resultJSON.value)
	if len(result) == 0 && len(r.task.ResultURLs) > 0 {
		result = canonical(r.urls) // without resultJson, from which they are decoded, they are the result
	}
	return Outcome{
		state:    r.task.State,
		result:   digestOf(result),
		failCode: digestOf([]byte(r.task.FailCode)),
		failText: digestOf([]byte(r.task.FailMsg)),
	}, nil
}

// Differences are the names of the webhook's members in which two outcomes
// differ; none if they are equal.
func (o Outcome) Differences(other Outcome) (members []string) {
	for _, m := range []struct {
		name string
		same bool
	}{
		{"state", o.state == other.state},
		{"resultJson", o.result == other.result},
		{"failCode", o.failCode == other.failCode},
		{"failMsg", o.failText == other.failText},
	} {
		if !m.same {
			members = append(members, m.name)
		}
	}
	return members
}

func digestOf(b []byte) (d digest) {
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d
}

// canonical is a result in the one way of writing it that all equal ones share,
// nil if there is none.
func canonical(v jsontext.Value) []byte {
	inner, _, _, err := unwrap(v)
	if err != nil {
		inner = v // of a failed task, where any text may stand, or the addresses alone
	} else if inner != nil {
		inner = withoutNullURLs(inner)
	}
	c := jsontext.Value(bytes.Clone(inner))
	// RFC 8785 would make numbers doubles, of which many differ in text only.
	if len(c) == 0 || c.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)) != nil {
		return inner
	}
	return canonicalNumbers(c)
}

// withoutNullURLs is a result without what is null among its resultUrls: it counts
// for nothing.
func withoutNullURLs(result jsontext.Value) jsontext.Value {
	d := new(decoder).reset(result)
	for name := range d.members() {
		if string(name) == "resultUrls" && d.PeekKind() == jsontext.KindBeginArray {
			m := d.value()
			return slices.Concat(result[:m.at], withoutNulls(m.value), result[m.at+len(m.value):])
		}
	}
	return result
}

// canonicalNumbers returns a JSON text with the numbers as appendDecimal writes them.
func canonicalNumbers(text jsontext.Value) []byte {
	var out bytes.Buffer
	d, e := new(decoder).reset(text), jsontext.NewEncoder(&out, jsontext.AllowDuplicateNames(true))
	for {
		switch token, err := d.ReadToken(); {
		case err != nil: // the end
			return out.Bytes()
		case token.Kind() == jsontext.KindNumber:
			_ = e.WriteValue(appendDecimal(nil, token.String()))
		default:
			_ = e.WriteToken(token)
		}
	}
}

// appendDecimal writes a JSON number by its value: its digits as a whole number
// without zeros at either end, and the power of ten that they are multiplied by.
func appendDecimal(dst []byte, number string) []byte {
	mantissa, power, _ := strings.Cut(strings.ToLower(number), "e")
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return append(dst, '0')
	}
	exponent := new(big.Int)
	exponent.SetString(strings.TrimPrefix(power, "+"), 10) // stays 0 without one
	trimmed := strings.TrimRight(digits, "0")
	exponent.Add(exponent, big.NewInt(int64(len(digits)-len(trimmed)-len(fraction))))
	if negative {
		dst = append(dst, '-')
	}
	dst = append(append(dst, trimmed...), 'e')
	return exponent.Append(dst, 10)
}
