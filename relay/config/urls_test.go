package config_test

import (
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

func TestCallbackURL(t *testing.T) {
	t.Parallel()
	https := func(c *config.Config) { c.Webhooks.TLSCertFile = "tls.crt" }
	for _, test := range []struct {
		name, listen, path string
		tokens             config.Tokens
		change             func(*config.Config)
		want               string
	}{
		{"no token", "127.0.0.1:8720", "/webhook/apixo", nil, nil, "http://127.0.0.1:8720/webhook/apixo"},
		{"first token", "127.0.0.1:8720", "/webhook/apixo", config.Tokens{"one", "two"}, nil, "http://127.0.0.1:8720/webhook/apixo/one"},
		{"HTTPS", "127.0.0.1:8720", "/webhook/apixo", config.Tokens{"one"}, https, "https://127.0.0.1:8720/webhook/apixo/one"},
		{"root", "127.0.0.1:1", "/", nil, nil, "http://127.0.0.1:1/"},
		{"root with a token", "127.0.0.1:1", "/", config.Tokens{"one"}, nil, "http://127.0.0.1:1/one"},
		{"base64", "127.0.0.1:1", "/w", config.Tokens{"a/b+c==%d"}, nil, "http://127.0.0.1:1/w/a%2Fb+c==%25d"},
		{"reserved characters", "127.0.0.1:1", "/w", config.Tokens{`#a?b"c`}, nil, "http://127.0.0.1:1/w/%23a%3Fb%22c"},
		{"every interface", "0.0.0.0:1", "/w", nil, nil, "http://127.0.0.1:1/w"},
		{"every interface in IPv6", "[::]:1", "/w", nil, nil, "http://127.0.0.1:1/w"},
		{"no host", ":1", "/w", nil, nil, "http://127.0.0.1:1/w"},
		{"IPv6", "[::1]:1", "/w", nil, nil, "http://[::1]:1/w"},
		{"name", "relay.example:1", "/w", nil, nil, "http://relay.example:1/w"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c config.Config
			c.Webhooks.ListenAddr, c.Webhooks.Path, c.Webhooks.Tokens = test.listen, test.path, test.tokens
			if test.change != nil {
				test.change(&c)
			}
			if got := c.CallbackURL(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// What is printed names the real port, and stands in for the token.
func TestWebhookURL(t *testing.T) {
	t.Parallel()
	c := defaults
	c.Webhooks.ListenAddr, c.Webhooks.Tokens = "127.0.0.1:0", config.Tokens{"tok-9f3c2a7d51e84b06"}
	for token, want := range map[string]string{
		"":      "http://127.0.0.1:4711/webhook/apixo",
		"TOKEN": "http://127.0.0.1:4711/webhook/apixo/TOKEN",
	} {
		if got := c.WebhookURL("0.0.0.0:4711", token); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestEmbeddedURL(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"127.0.0.1:4222": "nats://127.0.0.1:4222", ":4222": "nats://127.0.0.1:4222", "[::]:4222": "nats://127.0.0.1:4222",
		"10.0.0.1:4222": "nats://10.0.0.1:4222", "[::1]:4222": "nats://[::1]:4222",
	} {
		if got := (config.Config{Embedded: config.Embedded{Addr: addr}}).EmbeddedURL(); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

func TestRedactURLs(t *testing.T) {
	t.Parallel()
	for urls, want := range map[string]string{
		"":                                      "",
		"nats://host:4222":                      "nats://host:4222",
		"nats://a:1,tls://b:2":                  "nats://a:1,tls://b:2",
		" nats://a , b ,":                       "nats://a,b",
		"nats://u:p@host:4222":                  "nats://***@host:4222",
		"nats://token@host":                     "nats://***@host",
		"nats://host,tls://u:p@b,wss://t@c/d":   "nats://host,tls://***@b,wss://***@c/d",
		"u:p@host":                              "***@host",
		"nats://u:p@p@host":                     "nats://***@host",
		"nats://u:p://q@host":                   "nats://***@host",
		"u:p://q@host":                          "***@host",
		"nats://u:p/q?r#s@host":                 "nats://***@host",
		"nats://u:p,q@host":                     "nats://***,***@host",
		"nats://a,nats://u:p,q,r@host,nats://b": "nats://a,nats://***,***,***@host,nats://b",
		"p,q@host":                              "***,***@host",
	} {
		if got := config.RedactURLs(urls); got != want {
			t.Errorf("%s: got %s, want %s", urls, got, want)
		}
	}
}
