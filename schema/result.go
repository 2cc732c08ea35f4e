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
	if r.task.State != StateSuccess {
		// What a failed task left in resultJson is passed on and not looked into.
		return resultType(r.resultJSON)
	}
	inner, err := unwrap(r.resultJSON)
	if err != nil {
		return err
	}
	if inner != nil {
		r.task.ResultJSON = json.RawMessage(inner)
		for name, v := range members(inner) {
			if string(name) == "resultUrls" && v.Kind() != jsontext.KindNull {
				r.decodedURLs = v
			}
		}
	}
	code := CodeMemberType
	if r.resultJSON != nil && r.resultJSON.Kind() == jsontext.KindString {
		code = CodeResultJSON
	}
	decoded, err := readURLs(code, "resultUrls in resultJson", r.decodedURLs)
	if err != nil {
		return err
	}
	own, err := readURLs(CodeMemberType, "resultUrls", r.ownURLs)
	switch {
	case err != nil:
		return err
	case r.ownURLs == nil:
		r.task.ResultURLs = decoded
	case r.decodedURLs == nil || slices.Equal(own, decoded):
		r.task.ResultURLs = own
	default:
		return notResult(CodeResultJSON, "resultUrls beside resultJson differ from those in it, so it is not clear which are meant")
	}
	return nil
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
// when it is missing, null, an empty string or the string "null".
func unwrap(v jsontext.Value) (jsontext.Value, error) {
	if err := resultType(v); err != nil || v == nil {
		return nil, err
	}
	switch v.Kind() {
	case jsontext.KindNull:
		return nil, nil
	case jsontext.KindBeginObject:
		return v, nil
	}
	inner := trimSpace(unquoteText(v))
	if len(inner) == 0 || string(inner) == "null" {
		return nil, nil
	}
	if err := checkSyntax(inner); err != nil {
		return nil, notResult(CodeResultJSON, "the text in resultJson is %v", err)
	}
	if k := jsontext.Value(inner).Kind(); k != jsontext.KindBeginObject {
		return nil, notResult(CodeResultJSON, "the text in resultJson is %s, an object was expected", kindName(inner))
	}
	return inner, nil
}

// readURLs reads an array of strings; nothing is an empty one. The code is that
// of the error if it is no such array.
func readURLs(code, member string, v jsontext.Value) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	if v.Kind() != jsontext.KindBeginArray {
		return nil, notResult(code, "%s is %s, an array of strings was expected", member, kindName(v))
	}
	var urls []string
	for item := range elements(v) {
		if item.Kind() != jsontext.KindString {
			return nil, notResult(code, "%s holds %s, an array of strings was expected", member, kindName(item))
		}
		urls = append(urls, string(unquoteText(item)))
	}
	return urls, nil
}
