package receiver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// success is a webhook of a task that succeeded, failed one of a task that did not.
func success(taskID string) string {
	return fmt.Sprintf(`{"code":200,"message":"success","data":{"taskId":%q,"state":"success","resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/output/abc.jpg\"]}","costTime":12500,"createTime":1704067200000,"completeTime":1704067212500}}`, taskID)
}

func failed(taskID, failCode string) string {
	return fmt.Sprintf(`{"code":200,"message":"success","data":{"taskId":%q,"state":"failed","failCode":%q,"failMsg":"no"}}`, taskID, failCode)
}

// reply is an answer that has been read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

// change changes a request before it is sent.
type change func(*http.Request)

func header(name string, values ...string) change {
	return func(r *http.Request) { r.Header[name] = values }
}

func method(name string) change { return func(r *http.Request) { r.Method = name } }

func basic(password string) change {
	return func(r *http.Request) { r.SetBasicAuth("relay", password) }
}

func bearer(token string) change { return header("Authorization", "Bearer "+token) }

// chunked hides the size of the body.
func chunked(r *http.Request) { r.ContentLength = -1; r.GetBody = nil }

// receipt is the body of a 200.
type receipt struct {
	TaskID    string `json:"taskId"`
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate"`
}

// wantStored fails the test unless the answer says that the webhook is stored.
func (a reply) wantStored(t *testing.T, want receipt) {
	t.Helper()
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("answered %d, %q: %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	var got receipt
	strictly(t, a.body, &got)
	if got != want {
		t.Errorf("the receipt is %+v, want %+v", got, want)
	}
	// A decoder cannot tell false from missing.
	if !strings.Contains(a.body, `"duplicate":`) {
		t.Errorf("the receipt does not say whether it is a duplicate: %s", a.body)
	}
}

// document is a problem document.
type document struct {
	Type        string `json:"type"`
	Title       string `json:"title"`
	Status      int    `json:"status"`
	Detail      string `json:"detail"`
	Code        string `json:"code"`
	Quarantined *place `json:"quarantined"`
}

// place is where a message is kept.
type place struct {
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
}

// wantProblem fails the test unless the answer is a whole problem document of
// that status and type.
func (a reply) wantProblem(t *testing.T, status int, slug string) document {
	t.Helper()
	if a.status != status || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("answered %d, %q: %s; want %d, %s", a.status, a.header.Get("Content-Type"), a.body, status, slug)
	}
	var got document
	strictly(t, a.body, &got)
	if want := "https://github.com/apixo-relay/apixo-relay#" + slug; got.Type != want {
		t.Errorf("the type is %q, want %q", got.Type, want)
	}
	if got.Title == "" || got.Detail == "" || got.Status != status {
		t.Errorf("the problem is not whole: %s", a.body)
	}
	if retry := a.header.Get("Retry-After"); (retry == "30") != (status == http.StatusServiceUnavailable) || retry != "" && retry != "30" {
		t.Errorf("Retry-After is %q with a %d", retry, status)
	}
	return got
}

func strictly(t *testing.T, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}
