package download_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/schema"
)

// proxy connects to one address whatever it is asked for; to none if that is empty.
type proxy struct {
	*httptest.Server
	to    string
	mu    sync.Mutex
	asked []string
}

func newProxy(t *testing.T, to string) *proxy {
	p := &proxy{to: to}
	p.Server = store(t, p.serve)
	return p
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host)
	p.mu.Unlock()
	if p.to == "" {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	there, err := net.Dial("tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, _, _ := http.NewResponseController(w).Hijack()
	defer here.Close()
	io.WriteString(here, "HTTP/1.1 200 Connected\r\n\r\n")
	go func() {
		io.Copy(there, here)
		there.Close()
	}()
	io.Copy(here, there)
}

// A proxy looks names up. What is not to be asked of it, and what it is not for, is guarded as
// without one.
func TestProxy(t *testing.T) {
	t.Parallel()
	p := newPublic(t, sayHello, (*httptest.Server).StartTLS)
	p.means("direct.example.com", "127.0.0.1")
	via := newProxy(t, p.Listener.Addr().String())
	c := p.client(t, download.Options{UseProxy: true, Hosts: config.Origins{"*"}})
	c.SetProxy(func(r *http.Request) (*url.URL, error) {
		if r.URL.Host == "direct.example.com" {
			return nil, nil
		}
		return url.Parse(via.URL)
	})
	if body, err := get(t.Context(), c, "https://"+goodName+"/"); err != nil || body != "hello by HTTP/1" {
		t.Errorf("%q, %v", body, err)
	}
	for _, address := range []string{"https://direct.example.com/", "https://127.0.0.1/", "https://[fd00:ec2::254]/"} {
		want(t, mustFail(t, c, address), schema.ReasonForbiddenAddress, false, "is not a public address")
	}
	if want := []string{"CONNECT " + goodName + ":443"}; !slices.Equal(via.asked, want) {
		t.Errorf("the proxy was asked for %q", via.asked)
	}
}

// A proxy setting that nobody can read says so, without the password in it.
func TestUnreadableProxy(t *testing.T) {
	t.Parallel()
	c := client(t, download.Options{UseProxy: true}, "https://example.com")
	c.SetProxy(func(*http.Request) (*url.URL, error) { return nil, errors.New("http://user:t0ps3cret@proxy:99999") })
	e := mustFail(t, c, "https://example.com/")
	want(t, e, schema.ReasonUnavailable, true, "https://example.com cannot be reached: the environment names a proxy in no way that can be read: write HTTPS_PROXY like http://proxy.example.com:3128")
}

// Proxies of the environment are used when that is asked for, and not otherwise. The
// environment is another process's, as it is read once in one.
func TestProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	const inside = "TEST_INSIDE_WITH_PROXY"
	if os.Getenv(inside) == "" {
		via := newProxy(t, "")
		child := exec.Command(os.Args[0], "-test.run=^TestProxyOfTheEnvironment$")
		child.Env = append(os.Environ(), inside+"=1", "HTTPS_PROXY="+via.URL, "NO_PROXY=")
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if want := []string{"CONNECT proxied.example.com:443"}; !slices.Equal(via.asked, want) {
			t.Errorf("the proxy was asked for %q", via.asked)
		}
		return
	}
	noNames := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}
	hosts := config.Origins{"*.example.com"}
	direct := client(t, download.Options{Hosts: hosts, Resolver: noNames})
	want(t, mustFail(t, direct, "https://direct.example.com/"), schema.ReasonUnavailable, true, "no name server")
	proxied := client(t, download.Options{Hosts: hosts, Resolver: noNames, UseProxy: true})
	want(t, mustFail(t, proxied, "https://proxied.example.com/"), schema.ReasonUnavailable, true, "the proxy answered 502 Bad Gateway")
}
