// Package fakeapi plays APIXO's status API for tests: all the answers that are
// documented, and those of an API, or of what stands before it, that is in trouble.
package fakeapi

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// API is an http.Handler. It answers GET /api/v1/statusTask/{model}?taskId={id}
// for whoever brings its key.
type API struct {
	key string
	mux *http.ServeMux

	mu      sync.Mutex
	answers map[string][]Answer
	asked   map[string]int
	other   Answer
}

// Answer writes what is answered for a task.
type Answer func(w http.ResponseWriter, r *http.Request, taskID string)

// New makes one that takes this key. Until it is told otherwise by Set or Default,
// every task has succeeded.
func New(key string) *API {
	a := &API{key: key, mux: http.NewServeMux(), answers: make(map[string][]Answer), asked: make(map[string]int), other: Success}
	a.mux.HandleFunc("GET /api/v1/statusTask/{model}", a.status)
	return a
}

// Set says what is answered for a task: each in turn, and the last one from then on.
func (a *API) Set(taskID string, answers ...Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[taskID] = answers
}

// Default says what is answered for all other tasks.
func (a *API) Default(answer Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.other = answer
}

// Asked is how often each task has been asked for with the right key.
func (a *API) Asked() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.asked)
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

func (a *API) status(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+a.key {
		Error(http.StatusUnauthorized, "Invalid API key")(w, r, "")
		return
	}
	id := r.URL.Query().Get("taskId")
	if id == "" {
		Error(http.StatusBadRequest, "taskId is required")(w, r, "")
		return
	}
	a.mu.Lock()
	a.asked[id]++
	answer := a.other
	if list := a.answers[id]; len(list) > 0 {
		answer = list[0]
		if len(list) > 1 {
			a.answers[id] = list[1:]
		}
	}
	a.mu.Unlock()
	answer(w, r, id)
}

// Result is the envelope of a task that has succeeded: what its webhook brings, too.
func Result(taskID string) string {
	return fmt.Sprintf(`{"code":200,"message":"success","data":{"taskId":%q,"state":"success","resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/output/%s.jpg\"]}","costTime":12500,"createTime":1704067200000,"completeTime":1704067212500}}`, taskID, taskID)
}

// Success is the answer for a task that has succeeded, Failure for one that has not.
func Success(w http.ResponseWriter, r *http.Request, taskID string) {
	Body(http.StatusOK, Result(taskID))(w, r, taskID)
}

// Failure is the answer for a task that has failed.
func Failure(w http.ResponseWriter, r *http.Request, taskID string) {
	Body(http.StatusOK, fmt.Sprintf(`{"code":200,"message":"success","data":{"taskId":%q,"state":"failed","resultJson":null,"failCode":"CONTENT_VIOLATION","failMsg":"Content blocked","createTime":1704067200000,"completeTime":1704067212500}}`, taskID))(w, r, taskID)
}

// State is the answer for a task in a state without a result, such as pending.
func State(state string) Answer {
	return func(w http.ResponseWriter, r *http.Request, taskID string) {
		Body(http.StatusOK, fmt.Sprintf(`{"code":200,"message":"success","data":{"taskId":%q,"state":%q,"createTime":1704067200000}}`, taskID, state))(w, r, taskID)
	}
}

// Error is an error of the API; its envelope repeats the status.
func Error(status int, message string) Answer {
	return Body(status, fmt.Sprintf(`{"code":%d,"message":%q,"data":null}`, status, message))
}

// Hidden is an error that only the envelope tells: HTTP says 200.
func Hidden(code int, message string) Answer {
	return Body(http.StatusOK, fmt.Sprintf(`{"code":%d,"message":%q}`, code, message))
}

// RetryAfter is an error with the time to wait.
func RetryAfter(status int, value string) Answer {
	return func(w http.ResponseWriter, r *http.Request, taskID string) {
		w.Header().Set("Retry-After", value)
		Error(status, "Too many requests")(w, r, taskID)
	}
}

// Body is any other body; a %s in it becomes the task's id.
func Body(status int, body string) Answer {
	return func(w http.ResponseWriter, _ *http.Request, taskID string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.ReplaceAll(body, "%s", taskID)) // who does not wait does not get it
	}
}

// HTML is what a proxy answers for the API.
func HTML(status int) Answer {
	return func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<html><head><title>%d</title></head></html>", status)
	}
}

// Cut ends in the middle of the result.
func Cut(w http.ResponseWriter, _ *http.Request, taskID string) {
	result := Result(taskID)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(result)))
	_, _ = io.WriteString(w, result[:len(result)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// Gone closes the connection without an answer.
func Gone(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) }

// Silent answers when the client has given up.
func Silent(_ http.ResponseWriter, r *http.Request, _ string) { <-r.Context().Done() }

// Large is a result of so many bytes more.
func Large(bytes int) Answer {
	return func(w http.ResponseWriter, r *http.Request, taskID string) {
		Body(http.StatusOK, strings.Replace(Result(taskID), `"code"`, `"padding":"`+strings.Repeat("x", bytes)+`","code"`, 1))(w, r, taskID)
	}
}

// Redirect sends the client elsewhere.
func Redirect(to string) Answer {
	return func(w http.ResponseWriter, r *http.Request, _ string) {
		http.Redirect(w, r, to, http.StatusFound)
	}
}

// Held is an answer that waits until a channel is closed.
func Held(until <-chan struct{}, answer Answer) Answer {
	return func(w http.ResponseWriter, r *http.Request, taskID string) {
		select {
		case <-until:
			answer(w, r, taskID)
		case <-r.Context().Done():
		}
	}
}
