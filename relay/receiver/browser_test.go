package receiver_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/testcert"
)

// Whether a Host is looked at is decided by what else keeps strangers away. What a
// browser sends for a page of another site is refused in any case.
func TestHostIsLookedAtWhereNothingElseTellsSendersApart(t *testing.T) {
	t.Parallel()
	cert, key := testcert.Files(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	https := []string{"RELAY_TLS_CERT_FILE=" + cert, "RELAY_TLS_KEY_FILE=" + key}
	for name, test := range map[string]struct {
		path    string
		env     []string
		refused bool
	}{
		"loopback":             {webhookPath, nil, true},
		"loopback by name":     {webhookPath, []string{"RELAY_LISTEN_ADDR=localhost:0"}, true},
		"loopback, IPv6":       {webhookPath, []string{"RELAY_LISTEN_ADDR=[::1]:0"}, true},
		"an allow-list":        {webhookPath, []string{"RELAY_ALLOWED_CIDRS=127.0.0.0/8"}, true},
		"HTTPS":                {webhookPath, https, true},
		"tokens":               {goodPath, []string{tokenEnv}, false},
		"client certificates":  {webhookPath, append([]string{"RELAY_TLS_CLIENT_CA_FILE=" + cert}, https...), false},
		"permission":           {webhookPath, []string{"RELAY_ALLOW_UNAUTHENTICATED=true"}, false},
		"reachable by anybody": {webhookPath, []string{"RELAY_LISTEN_ADDR=:0", "RELAY_ALLOW_UNAUTHENTICATED=true"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startWith(t, storeFunc(always), test.env...)
			own := r.post(t, test.path, success("task_1"))
			own.wantStored(t, receipt{"task_1", "APIXO", 1, false})
			foreign := func(r *http.Request) { r.Host = "hooks.example.com" }
			got := r.post(t, test.path, success("task_2"), foreign)
			if !test.refused {
				got.wantStored(t, receipt{"task_2", "APIXO", 1, false})
			} else {
				got.wantProblem(t, http.StatusMisdirectedRequest, "foreign-host")
				if line := r.log.webhook(t, 2); line["outcome"] != "unauthorized" || line["problem"] != "foreign-host" || line["sender"] != "127.0.0.1" {
					t.Errorf("logged %v", line)
				}
				// The path and the method come first.
				r.post(t, "/nowhere", "", foreign).wantProblem(t, http.StatusNotFound, "not-found")
				r.post(t, test.path, "", foreign, method(http.MethodPut)).wantProblem(t, http.StatusMethodNotAllowed, "method-not-allowed")
			}
			page := header("Origin", "https://hooks.example.com")
			r.post(t, test.path, success("task_3"), page).wantProblem(t, http.StatusForbidden, "cross-site")
		})
	}
}

// In HTTP/2 the host is in a pseudo-header.
func TestBrowsersInHTTP2(t *testing.T) {
	t.Parallel()
	r := start(t)
	ca, addr, _ := r.serveTLS(t, func(*http.Server) {})
	for i, test := range []struct {
		authority string
		more      []string
		problem   any
	}{
		{"localhost", nil, nil},
		{"localhost", []string{"sec-fetch-site", "none"}, nil},
		{"localhost", []string{"origin", "https://localhost"}, nil},
		{"localhost", []string{"sec-fetch-site", "cross-site"}, "cross-site"},
		{"localhost", []string{"origin", "https://" + mark}, "cross-site"},
		{mark, nil, "foreign-host"},
		{mark, []string{"host", "localhost"}, "foreign-host"},
		{mark, []string{"origin", "https://" + mark, "sec-fetch-site", "same-origin"}, "foreign-host"},
	} {
		conn := dialHTTP2(t, addr, ca)
		block := fields(append([]string{":method", "POST", ":scheme", "https", ":authority", test.authority, ":path", webhookPath}, test.more...)...)
		if _, err := conn.Write(bytes.Join([][]byte{frame(frameHeaders, endHeaders, 1, block), frame(frameData, endStream, 1, []byte(success("task_1")))}, nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ended(1); err != nil {
			t.Errorf("%+v: %v", test, err)
		}
		if line := r.log.webhook(t, i+1); line["problem"] != test.problem {
			t.Errorf("%+v: logged %v", test, line)
		}
		_ = conn.NetConn().Close()
	}
	r.wantCounts(t, 1, 0)
}
