package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"unicode/utf8"
)

// judge says how a body has to be answered to whoever may send it, and which task
// it is about if that is 200. It reads JSON by encoding/json, which the relay does
// not, and knows of APIXO's webhook what the relay promises:
//
//   - 400 is due where it is not UTF-8, not one JSON text, has a name twice in an
//     object (lone surrogates being U+FFFD), or nests over 64;
//   - 422 where it is JSON, and taskId, state, or the result of a task that did not
//     fail is wrong;
//   - 200 otherwise, whatever the types of other members.
func judge(body []byte) (status int, task string) {
	if !oneText(body) {
		return http.StatusBadRequest, ""
	}
	task, ok := result(body)
	if !ok {
		return http.StatusUnprocessableEntity, ""
	}
	return http.StatusOK, task
}

// maxNesting is how deep a webhook may nest.
const maxNesting = 64

// oneText reports whether a text is JSON that all readers understand alike.
func oneText(text []byte) bool {
	return utf8.Valid(text) && json.Valid(text) && namesOnce(text)
}

// namesOnce reports whether no object has a name twice and nothing nests too deep.
func namesOnce(text []byte) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil in an array
		value bool            // a name was read, and its value comes
	}
	var open []level
	for {
		token, err := d.Token()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		switch token {
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
			continue
		}
		if n := len(open); n > 0 && open[n-1].names != nil {
			if !open[n-1].value {
				name := token.(string)
				if open[n-1].names[name] {
					return false
				}
				open[n-1].names[name], open[n-1].value = true, true
				continue
			}
			open[n-1].value = false
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{names: make(map[string]bool)})
		case json.Delim('['):
			open = append(open, level{})
		}
		if len(open) > maxNesting {
			return false
		}
	}
}

type object map[string]json.RawMessage

// asObject is what an object holds; not ok if it is none.
func asObject(text []byte) (o object, ok bool) {
	text = bytes.TrimSpace(text)
	return o, len(text) > 0 && text[0] == '{' && json.Unmarshal(text, &o) == nil
}

var taskIDs = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)

// result reads the task's id, if the text is a task's final result.
func result(text []byte) (id string, ok bool) {
	envelope, ok := asObject(text)
	if !ok {
		return "", false
	}
	data, ok := asObject(envelope["data"])
	if !ok {
		return "", false
	}
	id, state := str(data["taskId"]), str(data["state"])
	if !taskIDs.MatchString(id) || state != "success" && state != "failed" {
		return "", false
	}
	if state == "failed" {
		return id, true
	}
	made := data["resultJson"]
	inner, isObject := asObject(made)
	if !isObject && !textual(made) {
		return "", false
	}
	if inside := bytes.Trim([]byte(str(made)), " \t\r\n"); len(inside) > 0 && string(inside) != "null" {
		if inner, isObject = asObject(inside); !isObject || !oneText(inside) {
			return "", false
		}
	}
	within, ok := addresses(inner["resultUrls"])
	beside, alsoOK := addresses(data["resultUrls"])
	differ := within != nil && beside != nil && !slices.Equal(within, beside)
	return id, ok && alsoOK && !differ
}

// str is what a string says, and nothing if it is none.
func str(v json.RawMessage) (s string) {
	if len(v) > 0 && v[0] == '"' {
		_ = json.Unmarshal(v, &s) // it is known to be one
	}
	return s
}

// textual takes a string, null, and nothing.
func textual(v json.RawMessage) bool { return len(v) == 0 || v[0] == '"' || string(v) == "null" }

// addresses takes an array of strings and nulls, which count for nothing, null, and
// nothing.
func addresses(v json.RawMessage) (urls []string, ok bool) {
	if len(v) == 0 || string(v) == "null" {
		return nil, true
	}
	var items []json.RawMessage
	if v[0] != '[' || json.Unmarshal(v, &items) != nil {
		return nil, false
	}
	urls = []string{}
	for _, item := range items {
		switch {
		case item[0] == '"':
			urls = append(urls, str(item))
		case string(item) != "null":
			return nil, false
		}
	}
	return urls, true
}
