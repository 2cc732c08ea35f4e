package backfill

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/ops/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// resultKind is what an answer of the API means for what is done next.
type resultKind int

const (
	ended   resultKind = iota // the body is the task's result
	pending                   // it has not ended yet
	unknown                   // there is no such task
	refused                   // no result, and asking again would give none
	useless                   // refused, and in a way that tells more of the API's address than of the task
	again                     // ask again later
	denied                    // the key is wrong, for all tasks
)

// apiResult is what an answer says, detail in words.
type apiResult struct {
	kind   resultKind
	state  string
	detail string
}

// classify reads an answer, as liberally as can be while no result can be taken for
// another task's. clean makes foreign text fit to be shown.
//
// The status is that of HTTP or, where that is a 200, the code of the envelope if
// it is an error's: the documentation promises that both are the same.
func classify(taskID string, a httpclient.Result, clean func(string) string) apiResult {
	if a.Status == 0 {
		// What web proposes to do, behind the semicolon, is about a relay.
		detail, _, _ := strings.Cut(a.Detail, ";")
		v := apiResult{kind: useless, detail: "no answer: " + a.Cause + ": " + detail}
		if a.Retryable() {
			v.kind = again
		}
		return v
	}
	var envelope struct {
		Code    json.RawMessage `json:"code"`
		Message json.RawMessage `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	badJSON := json.Unmarshal(a.Body, &envelope)
	if code, err := strconv.Atoi(strings.Trim(string(envelope.Code), `"`)); err == nil && isOK(a.Status) && code >= 400 && code < 600 {
		a.Status = code
	}
	line := httpclient.StatusLine(a.Status, "")
	if said := message(a.Body, envelope.Message, badJSON == nil); said != "" {
		line += ": " + clean(said)
	}
	switch {
	case isOK(a.Status) && a.Truncated:
		return apiResult{kind: again, detail: fmt.Sprintf("the answer is larger than %d bytes (RELAY_MAX_BODY_BYTES), as no webhook may be", len(a.Body))}
	case isOK(a.Status) && badJSON != nil:
		return apiResult{kind: again, detail: "the answer is no JSON: " + line}
	case isOK(a.Status):
		return classifyData(taskID, envelope.Data, line, clean)
	case a.Status == http.StatusUnauthorized:
		return apiResult{kind: denied, detail: line}
	case a.Status == http.StatusNotFound && badJSON != nil:
		return apiResult{kind: unknown, detail: line + "; it is not the API that says so: look at APIXO_BASE_URL"}
	case a.Status == http.StatusNotFound:
		return apiResult{kind: unknown, detail: line}
	case a.Status < 400:
		return apiResult{kind: useless, detail: line + "; it is not followed, since the key would go with it: set APIXO_BASE_URL to where the API is"}
	case a.Retryable():
		return apiResult{kind: again, detail: line}
	}
	return apiResult{kind: refused, detail: line}
}

// classifyData reads the data of an answer that is no error's; line is what the
// answer says of itself.
func classifyData(taskID string, data json.RawMessage, line string, clean func(string) string) apiResult {
	var task struct{ TaskID, State any }
	// What is no object has neither member.
	_ = json.Unmarshal(data, &task)
	id, _ := task.TaskID.(string)
	state, _ := task.State.(string)
	state = clean(state)
	switch {
	case id == "":
		return apiResult{kind: refused, state: state, detail: "the answer does not say which task it is about: " + line}
	case id != taskID:
		return apiResult{kind: refused, state: state, detail: "the answer is about another task, " + quote(clean(id))}
	}
	switch state {
	case string(schema.StateSuccess), string(schema.StateFailed):
		return apiResult{kind: ended, state: state}
	case "pending", "processing":
		return apiResult{kind: pending, state: state}
	}
	return apiResult{kind: refused, state: state, detail: fmt.Sprintf("its state is %q: success, failed, pending or processing was expected", state)}
}

// isOK reports whether a status is one of success.
func isOK(status int) bool { return status >= 200 && status < 300 }

// maxShownBody bounds what is shown of an answer that is not the API's.
const maxShownBody = 120

// message is what an answer says in words: that of its envelope, or how it begins.
func message(body []byte, said json.RawMessage, isJSON bool) string {
	var words string
	if json.Unmarshal(said, &words) == nil && words != "" || isJSON {
		return words
	}
	words, cut := text.Shorten(text.Line(string(body)), maxShownBody)
	if cut {
		words += "…"
	}
	return words
}

// quote makes foreign text fit for an error: printable, and bounded.
func quote(s string) string {
	s, cut := text.Shorten(s, maxNameBytes)
	if cut {
		return strconv.QuoteToGraphic(s) + "…"
	}
	return strconv.QuoteToGraphic(s)
}
