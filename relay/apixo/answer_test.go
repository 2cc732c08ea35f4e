package apixo

import (
	"net/http"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	data := func(data string) string { return `{"code":200,"message":"success","data":` + data + `}` }
	for name, test := range map[string]struct {
		status      int
		body        string
		want        Kind
		state, says string
	}{
		"success":             {200, data(`{"taskId":"a","state":"success"}`), Final, "success", ""},
		"failed":              {200, data(`{"taskId":"a","state":"failed"}`), Final, "failed", ""},
		"pending":             {200, data(`{"taskId":"a","state":"pending"}`), Pending, "pending", ""},
		"processing":          {200, data(`{"taskId":"a","state":"processing"}`), Pending, "processing", ""},
		"no code":             {200, `{"data":{"taskId":"a","state":"success"}}`, Final, "success", ""},
		"code 0":              {200, `{"code":0,"data":{"taskId":"a","state":"success"}}`, Final, "success", ""},
		"code as a string":    {200, `{"code":"404","message":"none"}`, Unknown, "", "404 Not Found: none"},
		"accepted":            {202, data(`{"taskId":"a","state":"pending"}`), Pending, "pending", ""},
		"other state":         {200, data(`{"taskId":"a","state":"cancelled"}`), Refused, "cancelled", `its state is "cancelled"`},
		"no state":            {200, data(`{"taskId":"a"}`), Refused, "", `its state is ""`},
		"state as number":     {200, data(`{"taskId":"a","state":3}`), Refused, "", `its state is ""`},
		"other task":          {200, data(`{"taskId":"b","state":"success"}`), Refused, "success", `another task, "b"`},
		"no task":             {200, data(`{"state":"success"}`), Refused, "success", "does not say which task"},
		"task as number":      {200, data(`{"taskId":1,"state":"success"}`), Refused, "success", "does not say which task"},
		"null":                {200, data(`null`), Refused, "", "does not say which task"},
		"no data":             {200, `{"code":10001,"message":"maintenance"}`, Refused, "", "200 OK: maintenance"},
		"array":               {200, data(`[]`), Refused, "", "does not say which task"},
		"no object":           {200, `[1]`, Retry, "", "no JSON"},
		"empty":               {200, ``, Retry, "", "no JSON: 200 OK"},
		"cut":                 {200, `{"code":200,"data":{"taskId":"a","sta`, Retry, "", "no JSON"},
		"HTML":                {200, "<html>\n<b>x</b>", Retry, "", "no JSON: 200 OK: <html> <b>x</b>"},
		"long HTML":           {502, strings.Repeat("x", 500), Retry, "", "502 Bad Gateway: " + strings.Repeat("x", 120) + "…"},
		"400":                 {400, `{"code":400,"message":"bad model"}`, Refused, "", "400 Bad Request: bad model"},
		"401":                 {401, `{"code":401,"message":"bad key"}`, Denied, "", "401 Unauthorized: bad key"},
		"402":                 {402, `{"code":402,"message":"no credits"}`, Refused, "", "402 Payment Required: no credits"},
		"403":                 {403, `{"code":403,"message":"not yours"}`, Refused, "", "403 Forbidden: not yours"},
		"404":                 {404, `{"code":404,"message":"not found"}`, Unknown, "", "404 Not Found: not found"},
		"404 of another":      {404, "<html>", Unusable, "", "look at APIXO_BASE_URL"},
		"404 of a proxy":      {404, `{"error":"no route"}`, Unusable, "", "look at APIXO_BASE_URL"},
		"408":                 {408, ``, Retry, "", "408"},
		"429":                 {429, `{"code":429,"message":"slow down"}`, Retry, "", "429 Too Many Requests: slow down"},
		"500":                 {500, `{"code":500,"message":"oops"}`, Retry, "", "500 Internal Server Error: oops"},
		"501":                 {501, ``, Refused, "", "501"},
		"503":                 {503, `{"code":503,"message":"away"}`, Retry, "", "503"},
		"hidden 401":          {200, `{"code":401,"message":"bad key"}`, Denied, "", "401 Unauthorized: bad key"},
		"hidden 404":          {200, `{"code":404,"message":"not found","data":{}}`, Unknown, "", "404"},
		"hidden 429":          {200, `{"code":429}`, Retry, "", "429"},
		"hidden 500":          {200, `{"code":500,"data":{"taskId":"a","state":"success"}}`, Retry, "", "500"},
		"redirect":            {302, ``, Unusable, "", "302 Found; it is not followed, since the key would go with it"},
		"not modified":        {304, ``, Unusable, "", "304"},
		"message as an array": {400, `{"code":400,"message":["x"]}`, Refused, "", "400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := classify("a", httpclient.Result{Status: test.status, Header: http.Header{}, Body: []byte(test.body)}, text.Line)
			if v.Kind != test.want || v.State != test.state || !strings.Contains(v.Detail, test.says) {
				t.Errorf("%+v, want kind %d, state %q, %q", v, test.want, test.state, test.says)
			}
		})
	}
	if v := classify("a", httpclient.Result{Status: 200, Body: []byte(`{"code":200`), Truncated: true}, text.Line); v.Kind != Retry || !strings.Contains(v.Detail, "larger than 11 bytes") {
		t.Errorf("too large: %+v", v)
	}
	if v := classify("a", httpclient.Result{Cause: httpclient.CauseRefused, Detail: "dial: connection refused; is the relay running?"}, text.Line); v.Kind != Retry || strings.Contains(v.Detail, "relay") {
		t.Errorf("no answer: %+v", v)
	}
	if v := classify("a", httpclient.Result{Cause: httpclient.CauseUntrusted, Detail: "x509"}, text.Line); v.Kind != Unusable {
		t.Errorf("untrusted: %+v", v)
	}
}
