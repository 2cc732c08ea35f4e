package apixo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Kind is what an answer of the API means for what is done next.
type Kind int

// The kinds of answers.
const (
	Final    Kind = iota // Body is the task's result, as its webhook brings it
	Pending              // the task has not ended yet
	Unknown              // there is no such task
	Refused              // no result, and asking again would give none
	Unusable             // as Refused, in a way that tells more of the API's address than of the task
	Retry                // no answer, or one of an API in trouble: ask again later
	Denied               // the key is wrong, for all tasks
)

// Answer is what the API says of a task, or why it says nothing.
type Answer struct {
	Kind Kind
	// State is the task's, as the API tells it; empty if it tells none.
	State string
	// Detail says in words what State does not, in one line without secrets.
	Detail string
	// Body is the envelope of a final answer.
	Body []byte
	// Paused: all requests wait, since the API asks for that or is in trouble.
	Paused bool
}

// String returns the answer in a few words.
func (a Answer) String() string {
	switch {
	case a.Detail != "":
		return a.Detail
	case a.State != "":
		return a.State
	}
	return "no answer"
}

// classify reads an answer, as liberally as can be while no result can be taken for
// another task's. clean makes foreign text fit to be shown.
//
// The status is that of HTTP or, where that is a 200, the code of the envelope if
// it is an error's: the documentation promises that both are the same.
func classify(taskID string, a httpclient.Result, clean func(string) string) Answer {
	if a.Status == 0 {
		// What web proposes to do, behind the semicolon, is about a relay.
		detail, _, _ := strings.Cut(a.Detail, ";")
		v := Answer{Kind: Unusable, Detail: "no answer: " + a.Cause + ": " + detail}
		if a.Retryable() {
			v.Kind = Retry
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
		return Answer{Kind: Retry, Detail: fmt.Sprintf("the answer is larger than %d bytes (RELAY_MAX_BODY_BYTES), as no webhook may be", len(a.Body))}
	case isOK(a.Status) && badJSON != nil:
		return Answer{Kind: Retry, Detail: "the answer is no JSON: " + line}
	case isOK(a.Status):
		return classifyData(taskID, envelope.Data, line, clean)
	case a.Status == http.StatusUnauthorized:
		return Answer{Kind: Denied, Detail: line}
	case a.Status == http.StatusNotFound && len(envelope.Code) == 0 && len(envelope.Message) == 0:
		return Answer{Kind: Unusable, Detail: line + "; it is not the API that says so: look at APIXO_BASE_URL"}
	case a.Status == http.StatusNotFound:
		return Answer{Kind: Unknown, Detail: line}
	case a.Status < 400:
		return Answer{Kind: Unusable, Detail: line + "; it is not followed, since the key would go with it: set APIXO_BASE_URL to where the API is"}
	case a.Retryable():
		return Answer{Kind: Retry, Detail: line}
	}
	return Answer{Kind: Refused, Detail: line}
}

// classifyData reads the data of an answer that is no error's; line is what the
// answer says of itself.
func classifyData(taskID string, data json.RawMessage, line string, clean func(string) string) Answer {
	var task struct{ TaskID, State any }
	// What is no object has neither member.
	_ = json.Unmarshal(data, &task)
	id, _ := task.TaskID.(string)
	state, _ := task.State.(string)
	state = clean(state)
	switch {
	case id == "":
		return Answer{Kind: Refused, State: state, Detail: "the answer does not say which task it is about: " + line}
	case id != taskID:
		return Answer{Kind: Refused, State: state, Detail: "the answer is about another task, " + quote(clean(id))}
	}
	switch state {
	case string(schema.StateSuccess), string(schema.StateFailed):
		return Answer{Kind: Final, State: state}
	case "pending", "processing":
		return Answer{Kind: Pending, State: state}
	}
	return Answer{Kind: Refused, State: state, Detail: fmt.Sprintf("its state is %q: success, failed, pending or processing was expected", state)}
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

// maxQuotedBytes bounds what is repeated of a value that should be a name.
const maxQuotedBytes = 128

// quote makes foreign text fit for an error: printable, and bounded.
func quote(s string) string {
	s, cut := text.Shorten(s, maxQuotedBytes)
	if cut {
		return strconv.QuoteToGraphic(s) + "…"
	}
	return strconv.QuoteToGraphic(s)
}
