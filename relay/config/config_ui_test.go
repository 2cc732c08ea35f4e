package config

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestUI(t *testing.T) {
	t.Parallel()
	c, err := Load([]string{
		"RELAY_UI_ADDR=0.0.0.0:8722", "RELAY_UI_HOSTS=Relay.Example.com., [::1]", "RELAY_UI_MEDIA_HOSTS=*.Example.com,http://127.0.0.1:9000",
		"RELAY_UI_TARGETS=staging=https://u:secret@staging.example.com/a=b, again=nats:replayed.tasks",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.UI.Hosts, " "); got != "relay.example.com ::1" {
		t.Errorf("hosts %s", got)
	}
	if target, ok := c.UI.Targets.Get("staging"); !ok || target.To != "https://u:secret@staging.example.com/a=b" || c.UI.Targets.String() != "staging,again" {
		t.Errorf("targets %v, %v", c.UI.Targets, target.To)
	}
	if e, ok := errors.AsType[Error](c.UI.Check()); !ok || e.Variable != "RELAY_UI_ADDR" {
		t.Errorf("a page that everybody can read: %v", e)
	}
	c.UI.AccessTokens = Tokens{"0123456789abcdef"}
	if err := c.UI.Check(); err != nil {
		t.Error(err)
	}
	if (UI{Addr: "127.0.0.1:0"}).Check() != nil {
		t.Error("a page on loopback needs no token")
	}
}

func TestUIRefuses(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{
		"RELAY_UI_ADDR=8722", "RELAY_UI_TOKENS=short", "RELAY_UI_TLS_CERT_FILE=/nowhere", "RELAY_UI_INDEX=-1",
		"RELAY_UI_HOSTS=https://relay.example.com", "RELAY_UI_HOSTS=relay.example.com:8722", "RELAY_UI_HOSTS=*.example.com",
		"RELAY_UI_MEDIA_HOSTS=http://a/b", "RELAY_UI_MEDIA_HOSTS=a b", "RELAY_UI_MEDIA_HOSTS=javascript://a", "RELAY_UI_MEDIA_HOSTS='self'", "RELAY_UI_MEDIA_HOSTS=a;b", "RELAY_UI_MEDIA_HOSTS=https://*", "RELAY_UI_MEDIA_HOSTS=::1", "RELAY_UI_MEDIA_HOSTS=http://[::1]:9000", "RELAY_UI_HOSTS=fe80::1%a;b",
		"RELAY_UI_TARGETS=https://secret@a/b", "RELAY_UI_TARGETS=a=ftp://secret", "RELAY_UI_TARGETS=a=nats:", "RELAY_UI_TARGETS=a=nats://secret:4222", "RELAY_UI_TARGETS=a=-", "RELAY_UI_TARGETS=a=nats:x,a=nats:secret",
	} {
		variable, _, _ := strings.Cut(setting, "=")
		_, err := Load([]string{setting})
		all, _ := errors.AsType[Errors](err)
		if len(all) == 0 || !strings.HasPrefix(all[0].Variable, strings.TrimSuffix(variable, "CERT_FILE")) {
			t.Errorf("%s: %v", setting, err)
		}
		if variable == "RELAY_UI_TARGETS" && strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: a secret in %v", setting, err)
		}
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	origins := Origins{"*.apixo.ai", "cdn.example.com", "http://127.0.0.1:9000"}
	for address, want := range map[string]bool{
		"https://cdn.apixo.ai/x.jpg": true, "https://a.b.apixo.ai/": true, "https://CDN.APIXO.AI/x": true, "https://cdn.apixo.ai:443/": true,
		"https://apixo.ai/": false, "https://evilapixo.ai/": false, "https://cdn.apixo.ai.evil.com/": false, "http://cdn.apixo.ai/": false,
		"https://cdn.apixo.ai:8443/": false, "https://u@cdn.apixo.ai/": false, "https://cdn.example.com/": true, "https://x.cdn.example.com/": false,
		"http://127.0.0.1:9000/a": true, "http://127.0.0.1:9001/a": false, "https://127.0.0.1:9000/a": false, "//cdn.apixo.ai/": false, "data:image/png,": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := origins.Allow(u); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
	if u, _ := url.Parse("https://anything.example/"); !(Origins{"*"}).Allow(u) {
		t.Error("* is any host")
	}
}

// What is allowed by a name alone is not allowed as it stands, whatever else is.
func TestOriginsAsTheyStand(t *testing.T) {
	t.Parallel()
	origins := Origins{"*", "store.internal", "http://store.internal", "https://store.internal:443", "http://127.0.0.1:9000"}
	for address, want := range map[string]bool{
		"http://store.internal/a": true, "HTTP://Store.Internal:80/a": true, "http://store.internal:/a": true, "http://store.internal:8080/a": false,
		"https://store.internal/a": true, "https://store.internal:443/a": true, "https://store.internal:80/a": false, "http://store.internal:443/a": false,
		"http://127.0.0.1:9000/a": true, "https://127.0.0.1:9000/a": false, "http://127.0.0.1/a": false, "http://u@127.0.0.1:9000/a": false,
		"https://other.internal/": false, "http://[::1]:9000/": false, "http:///a": false, "http:store.internal": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := origins.AllowAsItStands(u); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}
