package access_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/ui/access"
)

// Every answer has the headers, whoever gets it and whatever it is.
func TestHeaders(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{Media: config.Origins{"*.apixo.ai"}}, goodToken)
	session := with(p.signIn(t, goodToken))
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https://*.apixo.ai; media-src 'self' https://*.apixo.ai; " +
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types apixo-relay",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control":                "no-store",
		"Permissions-Policy": "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), " +
			"payment=(), publickey-credentials-get=(), usb=(), xr-spatial-tracking=()",
	}
	for _, test := range []struct {
		name    string
		got     answer
		status  int
		differs map[string]string
	}{
		{"a view", p.do(t, "GET", "/", session), 200, nil},
		{"a file", p.do(t, "GET", "/static/page.js"), 200, map[string]string{"Cache-Control": "max-age=3600"}},
		{"the form", p.do(t, "GET", "/sign-in"), 200, nil},
		{"signed in", p.do(t, "POST", "/sign-in", form("token", goodToken)), 303, nil},
		{"not signed in", p.do(t, "GET", "/"), 303, nil},
		{"by a link", p.do(t, "GET", "/", header("Sec-Fetch-Site", "cross-site")), 401, nil},
		{"a wrong token", p.do(t, "POST", "/sign-in", form("token", wrongToken)), 401, nil},
		{"not to be done", p.do(t, "POST", "/replay"), 401, nil},
		{"of another site", p.do(t, "POST", "/replay", header("Origin", "null")), 403, nil},
		{"not in this way", p.do(t, "PUT", "/"), 405, nil},
		{"too large", p.do(t, "POST", "/sign-in", form("token", strings.Repeat("x", 70<<10))), 413, nil},
		{"signed out", p.do(t, "POST", "/sign-out"), 303, nil},
		{"under another name", p.do(t, "GET", "/", host("relay.example.com")), 421, map[string]string{"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": ""}},
	} {
		if test.got.status != test.status {
			t.Errorf("%s: %d %s", test.name, test.got.status, test.got.body)
		}
		if challenge := test.got.header.Get("WWW-Authenticate"); (challenge != "") != (test.status == 401) {
			t.Errorf("%s: WWW-Authenticate is %q", test.name, challenge)
		}
		for name, value := range want {
			if other, ok := test.differs[name]; ok {
				value = other
			}
			if got := test.got.header[name]; strings.Join(got, "|") != value {
				t.Errorf("%s: %s is %q, want %q", test.name, name, got, value)
			}
		}
	}
}

// Where a browser does not say from where a form comes but in Origin, it must not be told to
// keep that to itself.
func TestReferrerPolicy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		tls  bool
		want string
	}{
		{"localhost:8722", false, "no-referrer"},
		{"127.0.0.1", false, "no-referrer"},
		{"relay.example.com:8722", false, "same-origin"},
		{"relay.example.com:8722", true, "no-referrer"},
	} {
		p := newPage(access.Options{TLS: test.tls, Hosts: config.Hosts{"relay.example.com"}})
		response := p.ask("GET", "/", host(test.name))
		if got := response.Header.Get("Referrer-Policy"); got != test.want || response.StatusCode != http.StatusOK {
			t.Errorf("%s, TLS %t: %d, %s, want %s", test.name, test.tls, response.StatusCode, got, test.want)
		}
	}
}

func TestMedia(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		media   config.Origins
		clicked []string
		sources string
	}{
		{"none", nil, nil, "'self'"},
		{"hosts", config.Origins{"cdn.example.com", "*.apixo.ai", "192.0.2.7"}, nil, "'self' https://cdn.example.com https://*.apixo.ai https://192.0.2.7"},
		{"any", config.Origins{"*"}, nil, "'self' https:"},
		{"origins", config.Origins{"http://127.0.0.1:9000", "https://cdn.example.com"}, nil, "'self' http://127.0.0.1:9000 https://cdn.example.com"},
		{"what no policy can say", config.Origins{"2001:db8::7", "http://[::1]:9000", "fe80::1%; script-src *", "cdn.example.com"}, nil, "'self' https://cdn.example.com"},
		{"one twice", config.Origins{"cdn.example.com", "https://cdn.example.com"}, nil, "'self' https://cdn.example.com"},

		{"clicked", config.Origins{"*.apixo.ai"}, []string{"https://other.example.org"}, "'self' https://*.apixo.ai https://other.example.org"},
		{"clicked, none before", nil, []string{"https://other.example.org"}, "'self' https://other.example.org"},
		{"clicked addresses", nil, []string{"https://A.example.org:8443/b/c.png?d=e;f g", "http://other.example.org/x.mp4"}, "'self' https://a.example.org:8443 http://other.example.org"},
		{"clicked, known", config.Origins{"cdn.example.com"}, []string{"https://cdn.example.com/a.png"}, "'self' https://cdn.example.com"},
		{
			"clicked, hostile", nil,
			[]string{
				"", "*", "https:", "https://", "https://*", "https://*.org", "https://a.org;script-src", "https://a.org,b", "https://a.org script-src", "https://a.org'; script-src *", "data:image/svg+xml,x", "javascript:alert(1)", "blob:https://a.org/x", "'unsafe-inline'",
				"//a.org", "a.org", "ftp://a.org", "https://a.org:port", "https://a.org:123456", "https://[::1]:9000", "https://a.org%20b", "https://ä.org", "https://user@", "http:a.org", "https:/a.org", "https://a..org", "https://.org", "https://a.org\n", "wss://a.org",
			},
			"'self'",
		},
		{"clicked, with a user", nil, []string{"https://user:secret@a.org/x"}, "'self' https://a.org"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPage(access.Options{Media: test.media})
			response := p.ask("GET", "/?"+url.Values{"media": test.clicked}.Encode())
			if got, want := response.Header.Get("Content-Security-Policy"), policy(test.sources); got != want {
				t.Errorf("the policy is\n%s, want\n%s", got, want)
			}
		})
	}
}

func policy(media string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src " + media + "; media-src " + media +
		"; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types apixo-relay"
}

// What is allowed for one answer is not for the next.
func TestClickedMediaAreForOneAnswer(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{})
	clicked := p.do(t, "GET", "/?media="+url.QueryEscape("https://other.example.org"))
	next := p.do(t, "GET", "/")
	if got := clicked.header.Get("Content-Security-Policy"); got != policy("'self' https://other.example.org") {
		t.Errorf("clicked: %s", got)
	}
	if got := next.header.Get("Content-Security-Policy"); got != policy("'self'") {
		t.Errorf("the next answer: %s", got)
	}
}
