package backfill

import (
	"net/http"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/ops/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/text"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	data := func(data string) string { return `{"code":200,"message":"success","data":` + data + `}` }
	for name, test := range map[string]struct {
		status      int
		body        string
		want        resultKind
		state, says string
	}{
		"success":             {200, data(`{"taskId":"a","state":"success"}`), ended, "success", ""},
		"failed":              {200, data(`{"taskId":"a","state":"failed"}`), ended, "failed", ""},
		"pending":             {200, data(`{"taskId":"a","state":"pending"}`), pending, "pending", ""},
		"processing":          {200, data(`{"taskId":"a","state":"processing"}`), pending, "processing", ""},
		"no code":             {200, `{"data":{"taskId":"a","state":"success"}}`, ended, "success", ""},
		"code 0":              {200, `{"code":0,"data":{"taskId":"a","state":"success"}}`, ended, "success", ""},
		"code as a string":    {200, `{"code":"404","message":"none"}`, unknown, "", "404 Not Found: none"},
		"accepted":            {202, data(`{"taskId":"a","state":"pending"}`), pending, "pending", ""},
		"other state":         {200, data(`{"taskId":"a","state":"cancelled"}`), refused, "cancelled", `its state is "cancelled"`},
		"no state":            {200, data(`{"taskId":"a"}`), refused, "", `its state is ""`},
		"state as number":     {200, data(`{"taskId":"a","state":3}`), refused, "", `its state is ""`},
		"other task":          {200, data(`{"taskId":"b","state":"success"}`), refused, "success", `another task, "b"`},
		"no task":             {200, data(`{"state":"success"}`), refused, "success", "does not say which task"},
		"task as number":      {200, data(`{"taskId":1,"state":"success"}`), refused, "success", "does not say which task"},
		"null":                {200, data(`null`), refused, "", "does not say which task"},
		"no data":             {200, `{"code":10001,"message":"maintenance"}`, refused, "", "200 OK: maintenance"},
		"array":               {200, data(`[]`), refused, "", "does not say which task"},
		"no object":           {200, `[1]`, again, "", "no JSON"},
		"empty":               {200, ``, again, "", "no JSON: 200 OK"},
		"cut":                 {200, `{"code":200,"data":{"taskId":"a","sta`, again, "", "no JSON"},
		"HTML":                {200, "<html>\n<b>x</b>", again, "", "no JSON: 200 OK: <html> <b>x</b>"},
		"long HTML":           {502, strings.Repeat("x", 500), again, "", "502 Bad Gateway: " + strings.Repeat("x", 120) + "…"},
		"400":                 {400, `{"code":400,"message":"bad model"}`, refused, "", "400 Bad Request: bad model"},
		"401":                 {401, `{"code":401,"message":"bad key"}`, denied, "", "401 Unauthorized: bad key"},
		"402":                 {402, `{"code":402,"message":"no credits"}`, refused, "", "402 Payment Required: no credits"},
		"403":                 {403, `{"code":403,"message":"not yours"}`, refused, "", "403 Forbidden: not yours"},
		"404":                 {404, `{"code":404,"message":"not found"}`, unknown, "", "404 Not Found: not found"},
		"404 of another":      {404, "<html>", unknown, "", "look at APIXO_BASE_URL"},
		"408":                 {408, ``, again, "", "408"},
		"429":                 {429, `{"code":429,"message":"slow down"}`, again, "", "429 Too Many Requests: slow down"},
		"500":                 {500, `{"code":500,"message":"oops"}`, again, "", "500 Internal Server Error: oops"},
		"501":                 {501, ``, refused, "", "501"},
		"503":                 {503, `{"code":503,"message":"away"}`, again, "", "503"},
		"hidden 401":          {200, `{"code":401,"message":"bad key"}`, denied, "", "401 Unauthorized: bad key"},
		"hidden 404":          {200, `{"code":404,"message":"not found","data":{}}`, unknown, "", "404"},
		"hidden 429":          {200, `{"code":429}`, again, "", "429"},
		"hidden 500":          {200, `{"code":500,"data":{"taskId":"a","state":"success"}}`, again, "", "500"},
		"redirect":            {302, ``, useless, "", "302 Found; it is not followed, since the key would go with it"},
		"not modified":        {304, ``, useless, "", "304"},
		"message as an array": {400, `{"code":400,"message":["x"]}`, refused, "", "400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := classify("a", httpclient.Result{Status: test.status, Header: http.Header{}, Body: []byte(test.body)}, text.Line)
			if v.kind != test.want || v.state != test.state || !strings.Contains(v.detail, test.says) {
				t.Errorf("%+v, want kind %d, state %q, %q", v, test.want, test.state, test.says)
			}
		})
	}
	if v := classify("a", httpclient.Result{Status: 200, Body: []byte(`{"code":200`), Truncated: true}, text.Line); v.kind != again || !strings.Contains(v.detail, "larger than 11 bytes") {
		t.Errorf("too large: %+v", v)
	}
	if v := classify("a", httpclient.Result{Cause: httpclient.CauseRefused, Detail: "dial: connection refused; is the relay running?"}, text.Line); v.kind != again || strings.Contains(v.detail, "relay") {
		t.Errorf("no answer: %+v", v)
	}
	if v := classify("a", httpclient.Result{Cause: httpclient.CauseUntrusted, Detail: "x509"}, text.Line); v.kind != useless {
		t.Errorf("untrusted: %+v", v)
	}
}
