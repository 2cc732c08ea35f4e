package httpclient

import (
	"net/url"
	"strings"
	"testing"
)

func TestRedactor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, url, text, want string }{
		{"password", "https://relay:t0ps3cret@host/", "got t0ps3cret here", "got … here"},
		{"password in Basic form", "https://relay:t0ps3cret@host/", "Basic cmVsYXk6dDBwczNjcmV0", "Basic …"},
		{"escaped password", "https://relay:a%2Fb%20c@host/", "a/b c a%2Fb%20c a%2Fb+c", "… … …"},
		{"user alone", "https://t0ps3cret@host/", "t0ps3cret", "…"},
		{"user beside a password", "https://relay:t0ps3cret@host/", "the relay", "the relay"},
		{"token in the path", "http://host/webhook/apixo/abcdefghijklmnop", "no /webhook/apixo/abcdefghijklmnop", "no /webhook/apixo/…"},
		{"token in the query", "http://host/webhook?model=nano-banana&key=abcdefghijklmnop", "key=abcdefghijklmnop for nano-banana", "key=… for nano-banana"},
		{"nothing to hide", "http://host/webhook", "all of it", "all of it"},
		{"several lines", "http://host/", " a\r\n\tb  c\n", "a b c"},
		{"terminal control", "http://host/", "\x1b[31mred\x07 \u202etfel", "�[31mred� �tfel"},
		{"invalid UTF-8", "http://host/", "a\xffb", "a�b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(test.url)
			if err != nil {
				t.Fatal(err)
			}
			if got := NewRedactor(u).Redact(test.text, 100); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestRedactorShortens(t *testing.T) {
	t.Parallel()
	u := &url.URL{Scheme: "http", Host: "host"}
	if got := NewRedactor(u).Redact(strings.Repeat("x", 500), 10); got != "xxxxxxxxxx…" {
		t.Errorf("cut text is %q", got)
	}
}

// Secrets that are in no URL are blotted out besides those that are, in all forms.
func TestRedactorAnd(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("https://relay:t0ps3cret@host/")
	if err != nil {
		t.Fatal(err)
	}
	r := NewRedactor(u)
	if got := r.With("", "sk/1").Redact("t0ps3cret sk/1 sk%2F1", 100); got != "… … …" {
		t.Errorf("got %q", got)
	}
	if got := r.Redact("t0ps3cret sk/1", 100); got != "… sk/1" {
		t.Errorf("the one that it was made of gives %q", got)
	}
}
