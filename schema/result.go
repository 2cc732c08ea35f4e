package schema

import (
	"encoding/json"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// readResult reads what was made: resultJson, a JSON text inside a string or,
// as some of APIXO's models send it, an object; and resultUrls where the data
// has them of its own, as an event's data does.
func (r *taskReader) readResult() error {
	inner, within, repaired, err := unwrap(r.resultJSON.value)
	if err != nil {
		return err
	}
	if repaired != nil {
		r.normalize(memberResultJSON, r.resultJSON, repaired)
	}
	r.task.ResultJSON = json.RawMessage(inner)
	code := CodeMemberType
	if v := r.resultJSON.value; v != nil && v.Kind() == jsontext.KindString {
		code = CodeResultJSON
	}
	decoded, clean, err := readURLs(code, "resultUrls in resultJson", within)
	if err != nil {
		return err
	}
	if r.urls = within; clean != nil {
		r.urls = clean
	}
	r.task.ResultURLs = decoded
	switch v := r.ownURLs.value; {
	case v == nil && clean != nil:
		r.normalized |= memberResultURLs
		return nil
	case v == nil:
		return nil
	case v.Kind() == jsontext.KindNull:
		r.normalize(memberResultURLs, r.ownURLs, r.urlsOrNone())
		return nil
	}
	own, clean, err := readURLs(CodeMemberType, "resultUrls", r.ownURLs.value)
	switch {
	case err != nil:
		return err
	case within != nil && !slices.Equal(own, decoded):
		return notResult(CodeResultJSON, "resultUrls beside resultJson differ from those in it, so it is not clear which are meant")
	}
	if r.urls = r.ownURLs.value; clean != nil {
		r.urls = clean
		r.normalize(memberResultURLs, r.ownURLs, clean)
	}
	r.task.ResultURLs = own
	return nil
}

// readLeftovers looks at what a failed task has of a result: it is passed on where
// it is of the right type, and nobody reads it.
func (r *taskReader) readLeftovers() {
	if v := r.resultJSON.value; v != nil && resultType(v) != nil {
		r.normalize(memberResultJSON, r.resultJSON, nil)
		r.resultJSON = member{}
	}
	v := r.ownURLs.value
	if v == nil || v.Kind() == jsontext.KindNull {
		return
	}
	if _, clean, err := readURLs(CodeMemberType, "resultUrls", v); err != nil || clean != nil {
		r.normalize(memberResultURLs, r.ownURLs, clean)
	}
}

// urlsOrNone are the addresses as a JSON array, which is empty if there are none.
func (r *taskReader) urlsOrNone() jsontext.Value {
	if r.urls == nil {
		return jsontext.Value("[]")
	}
	return r.urls
}

// resultType holds resultJson against the types that it may have.
func resultType(v jsontext.Value) error {
	if v == nil {
		return nil
	}
	switch v.Kind() {
	case jsontext.KindNull, jsontext.KindString, jsontext.KindBeginObject:
		return nil
	default:
		return notResult(CodeMemberType, "resultJson is %s, a string or an object was expected", kindName(v))
	}
}

// unwrap is the JSON object that resultJson holds, or nil if it holds nothing:
// when it is missing, null, an empty string or the string "null"; and the resultUrls in
// the object, nil if they are missing or null. If it is a string in whose text there are
// lone surrogates, repaired is the string without them, and nil otherwise.
func unwrap(v jsontext.Value) (inner, urls, repaired jsontext.Value, err error) {
	if err := resultType(v); err != nil || v == nil {
		return nil, nil, nil, err
	}
	text := v
	if v.Kind() == jsontext.KindString {
		text = unquoteText(v)
	}
	if inner = trimSpace(text); len(inner) == 0 || string(inner) == "null" {
		return nil, nil, nil, nil
	}
	valid, changed, err := parse(text, func(d *decoder) error {
		for name := range d.members() {
			if string(name) == "resultUrls" && d.PeekKind() != jsontext.KindNull {
				urls = d.value().value
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, nil, notResult(CodeResultJSON, "the text in resultJson is %v", err)
	}
	if changed {
		repaired, _ = jsontext.AppendQuote(nil, valid) // no error: it is UTF-8
	}
	if inner = trimSpace(valid); inner.Kind() != jsontext.KindBeginObject {
		return nil, nil, nil, notResult(CodeResultJSON, "the text in resultJson is %s, an object was expected", kindName(inner))
	}
	return inner, urls, repaired, nil
}

// readURLs reads an array of strings; nothing is an empty one. Where some of its
// elements are null, the second result is the array without them, and nil otherwise.
// The code is that of the error if it is no such array.
func readURLs(code, name string, v jsontext.Value) ([]string, jsontext.Value, error) {
	if v == nil {
		return nil, nil, nil
	}
	if v.Kind() != jsontext.KindBeginArray {
		return nil, nil, notResult(code, "%s is %s, an array of strings was expected", name, kindName(v))
	}
	var urls []string
	nulls := false
	for item := range elements(v) {
		switch item.Kind() {
		case jsontext.KindString:
			urls = append(urls, string(unquoteText(item)))
		case jsontext.KindNull:
			nulls = true
		default:
			return nil, nil, notResult(code, "%s holds %s, an array of strings was expected", name, kindName(item))
		}
	}
	var clean jsontext.Value
	if nulls {
		clean = withoutNulls(v)
	}
	return urls, clean, nil
}

// withoutNulls is an array without those of its elements that are null.
func withoutNulls(array jsontext.Value) jsontext.Value {
	dst := append(make([]byte, 0, len(array)), '[')
	for item := range elements(array) {
		if item.Kind() == jsontext.KindNull {
			continue
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(dst, item...)
	}
	return append(dst, ']')
}
