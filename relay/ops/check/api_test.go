package check_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
)

const apiKey = "sk-0123456789abcdef"

// playAPI runs a status API that gives one answer about every task, and returns the
// environment with which it is reached.
func playAPI(t *testing.T, answer fakeapi.Answer) (*fakeapi.API, []string) {
	t.Helper()
	api := fakeapi.New(apiKey)
	api.Default(answer)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return api, []string{"APIXO_BASE_URL=" + server.URL, "APIXO_API_KEY=" + apiKey}
}

var noSuchTask = fakeapi.Error(http.StatusNotFound, "Task not found")

// The status API is asked once, and what it answers tells whether key and address can be used.
func TestStatusAPI(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer     fakeapi.Answer
		status     check.Status // with nothing but backfill
		needed     check.Status // where the relay itself asks
		fact, todo string
	}{
		"no such task":  {noSuchTask, check.OK, check.OK, "takes the key", ""},
		"a result":      {fakeapi.Success, check.OK, check.OK, "takes the key", ""},
		"not the API's": {fakeapi.HTML(http.StatusNotFound), check.Warn, check.Fail, "it is not the API that says so", "APIXO_BASE_URL"},
		"a redirect":    {fakeapi.Redirect("/elsewhere"), check.Warn, check.Fail, "302 Found", "APIXO_BASE_URL"},
		"away":          {fakeapi.Error(http.StatusServiceUnavailable, "for now"), check.Warn, check.Fail, "503 Service Unavailable: for now", "whether APIXO is well"},
		"gone":          {fakeapi.Gone, check.Warn, check.Fail, "no answer", "firewall"},
		"too slow":      {fakeapi.Silent, check.Warn, check.Fail, "no answer", "firewall"},
		"forbidden":     {fakeapi.Error(http.StatusForbidden, "not yours"), check.Warn, check.Warn, "403 Forbidden: not yours", "APIXO_API_KEY"},
		"another task":  {fakeapi.Body(http.StatusOK, fakeapi.Result("task_1")), check.Warn, check.Warn, "about another task", "APIXO_API_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api, environ := playAPI(t, tt.answer)
			environ = append(environ, "RELAY_VERIFY_TIMEOUT=500ms")
			r := here(t, environ...)
			expect(t, r, check.API, tt.status, tt.fact)
			expect(t, r, check.API, tt.status, tt.todo)
			if strings.Contains(printed(r), apiKey) {
				t.Errorf("the key is told:\n%s", printed(r))
			}
			if asked := api.Asked(); len(asked) != 1 || asked["apixo-relay-check"] != 1 {
				t.Errorf("it was asked for %v", asked)
			}
			for _, use := range []string{"RELAY_EXPECT=true", "RELAY_VERIFY=flag", "RELAY_VERIFY=enforce"} {
				r := here(t, append(environ, use)...)
				expect(t, r, check.API, tt.needed, tt.fact)
				if n := len(named(r, check.API)); n != 1 {
					t.Errorf("%d lines about it in\n%s", n, printed(r))
				}
			}
		})
	}
}

// A wrong key fails, and is not told, not even where the API repeats it.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	const wrong = "sk-this-one-is-wrong"
	api := httptest.NewServer(fakeapi.New(apiKey))
	defer api.Close()
	repeats := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fakeapi.Error(http.StatusUnauthorized, "no such key: "+r.Header.Get("Authorization"))(w, r, "")
	}))
	defer repeats.Close()
	for _, url := range []string{api.URL, repeats.URL} {
		r := here(t, "APIXO_BASE_URL="+url, "APIXO_API_KEY="+wrong)
		expect(t, r, check.API, check.Fail, "compare APIXO_API_KEY with APIXO's console")
		expect(t, r, check.API, check.Fail, "does not take the key: 401 Unauthorized: ")
		if strings.Contains(printed(r), wrong) {
			t.Errorf("the key is told:\n%s", printed(r))
		}
	}
}

// Without a key nobody is asked.
func TestNoKey(t *testing.T) {
	t.Parallel()
	api, environ := playAPI(t, noSuchTask)
	expect(t, here(t, environ[0]), check.API, check.OK, "APIXO_API_KEY is not set")
	if asked := api.Asked(); len(asked) > 0 {
		t.Errorf("it was asked for %v", asked)
	}
}

// An API that says nothing takes no longer than what is given to the whole.
func TestSilentAPI(t *testing.T) {
	t.Parallel()
	s, _ := withStreams(t, nil)
	_, environ := playAPI(t, fakeapi.Silent)
	r := lookWith(t, check.Options{Timeout: 2 * time.Second}, append(environ, "NATS_URL="+s.ClientURL(), "RELAY_EXPECT=true")...)
	wellFormed(t, r)
	only(t, r, check.API)
	expect(t, r, check.API, check.Fail, "gives no usable answer")
}

// Where webhooks are held against the API, the callback URL has to name a model. What is
// delivered through it is no result, so that nobody is asked about it.
func TestModelInCallbackURL(t *testing.T) {
	t.Parallel()
	for mode, status := range map[string]check.Status{"flag": check.Warn, "enforce": check.Fail} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			api, environ := playAPI(t, noSuchTask)
			r, environ := startRelay(t, append(environ, "RELAY_VERIFY="+mode)...)
			callback := "http://" + r.Addr() + "/webhook/apixo"
			for _, query := range []string{"", "?model=", "?model=..", "?other=nano-banana"} {
				report := through(t, callback+query, environ...)
				wellFormed(t, report)
				only(t, report, check.Delivery, check.Disk)
				expect(t, report, check.Delivery, status, "RELAY_VERIFY="+mode)
				expect(t, report, check.Delivery, check.OK, "came through")
			}
			report := through(t, callback+"?model=nano-banana", environ...)
			only(t, report, check.Disk)
			if asked := api.Asked(); asked["apixo-relay-check"] != 5 {
				t.Errorf("5 looks asked for %v", asked)
			}
		})
	}
}
