package download_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Names of httptest's certificate, and below one of them.
const (
	goodName  = "example.com"
	otherName = "www.example.com"
)

func sayHello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "hello by HTTP/%d", r.ProtoMajor)
}

// A name that is allowed is downloaded from, by either HTTP, as long as its address is public.
func TestPublic(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*httptest.Server){
		"hello by HTTP/1": (*httptest.Server).StartTLS,
		"hello by HTTP/2": func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPublic(t, sayHello, start)
			p.means(goodName, "127.0.0.2")
			if body, err := get(t.Context(), p.client(t, download.Options{}), "https://"+goodName+"/a.png"); err != nil || body != name {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
}

// What a name means is looked at when it is connected to, however it comes to mean that.
func TestForbiddenAddresses(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]string{
		"loopback": "127.0.0.1", "link-local": "169.254.169.254", "private": "10.0.0.1", "mapped": "::ffff:127.0.0.1", "loopback of IPv6": "::1",
		"unspecified": "0.0.0.0", "alias": "localhost 127.0.0.1", "several": "127.0.0.1 ::1 192.168.0.1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPublic(t, sayHello, (*httptest.Server).StartTLS)
			p.means(goodName, answers)
			want(t, mustFail(t, p.client(t, download.Options{}), "https://"+goodName+"/a.png"), schema.ReasonForbiddenAddress, false, "is not a public address")
		})
	}
}

// A name that means another address the next time is not connected to there; the connection
// that was made before goes on to be used.
func TestRebinding(t *testing.T) {
	t.Parallel()
	p := newPublic(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/last" {
			w.Header().Set("Connection", "close")
		}
		sayHello(w, r)
	}, (*httptest.Server).StartTLS)
	p.means(goodName, "127.0.0.2", "127.0.0.1")
	c := p.client(t, download.Options{})
	for _, path := range []string{"/first", "/last"} {
		if body, err := get(t.Context(), c, "https://"+goodName+path); err != nil {
			t.Fatalf("%s: %q, %v", path, body, err)
		}
	}
	want(t, mustFail(t, c, "https://"+goodName+"/after"), schema.ReasonForbiddenAddress, false, "127.0.0.1")
}

// A redirect is an address like any other.
func TestForbiddenRedirects(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ to, reason, detail string }{
		"loopback by name": {"https://" + otherName + "/", schema.ReasonForbiddenAddress, "led on to https://" + otherName + ": 127.0.0.1"},
		"loopback":         {"https://127.0.0.1/", schema.ReasonForbiddenAddress, "127.0.0.1"},
		"link-local":       {"https://169.254.169.254/latest/meta-data/", schema.ReasonForbiddenAddress, "169.254.169.254"},
		"not https":        {"http://" + goodName + "/", schema.ReasonNotHTTPS, "http://" + goodName},
		"another scheme":   {"file:///etc/passwd", schema.ReasonInvalidAddress, "no http"},
		"another port":     {"https://" + goodName + ":8443/", schema.ReasonForbiddenHost, ":8443"},
		"another host":     {"https://elsewhere.invalid/", schema.ReasonForbiddenHost, "elsewhere.invalid"},
		"a user":           {"https://user:t0ps3cret@" + goodName + "/", schema.ReasonForbiddenHost, "user"},
		"nowhere":          {"https://[", schema.ReasonRefused, "302 Found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPublic(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Location", test.to); w.WriteHeader(302) }, (*httptest.Server).StartTLS)
			p.means(goodName, "127.0.0.2")
			p.means(otherName, "127.0.0.1")
			hosts := config.Origins{"*.example.com", goodName, "127.0.0.1", "169.254.169.254"}
			want(t, mustFail(t, p.client(t, download.Options{Hosts: hosts}), "https://"+goodName+"/a.png"), test.reason, false, test.detail)
		})
	}
}
