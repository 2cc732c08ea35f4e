package send

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestRunRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Options)
		says   string
	}{
		{"no URL", func(o *Options) { o.URL = nil }, "URL"},
		{"relative URL", func(o *Options) { o.URL = &url.URL{Path: "/topsecret"} }, "URL"},
		{"other scheme", func(o *Options) { o.URL = &url.URL{Scheme: "ftp", Host: "topsecret"} }, "URL"},
		{"no transport", func(o *Options) { o.Transport = nil }, "transport"},
		{"no payload", func(o *Options) { o.Payloads = nil }, "nothing to send"},
		{"no webhook", func(o *Options) { o.Count = 0 }, "count 0"},
		{"too many", func(o *Options) { o.Count = math.MaxInt }, "count"},
		{"no concurrency", func(o *Options) { o.Concurrency = 0 }, "concurrency 0"},
		{"too much at once", func(o *Options) { o.Concurrency = 10_001 }, "concurrency 10001"},
		{"negative rate", func(o *Options) { o.Rate = -1 }, "rate -1"},
		{"rate is no number", func(o *Options) { o.Rate = math.NaN() }, "rate NaN"},
		{"endless rate", func(o *Options) { o.Rate = math.Inf(1) }, "rate +Inf"},
		{"id is not UTF-8", func(o *Options) { o.TaskID = "\xff" }, "UTF-8"},
		{"id without a place", func(o *Options) { o.TaskID = "x"; o.Payloads = []Payload{File("bad.json", nil, false)} }, "bad.json"},
		{"negative time for answers", func(o *Options) { o.AnswerTimeout = -1 }, "-1ns"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := Options{
				URL:         &url.URL{Scheme: "http", Host: "topsecret"},
				Transport:   roundTrip(func(*http.Request) (*http.Response, error) { panic("something was sent") }),
				Payloads:    []Payload{sample(t, Success)},
				Count:       1,
				Concurrency: 1,
			}
			test.change(&o)
			_, err := Run(t.Context(), o)
			if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "topsecret") {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
		})
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"http://127.0.0.1:8720/webhook/apixo", "https://relay:tok%2Fen@host/a?b=c"} {
		if u, err := ParseURL(text); err != nil || u.String() != text {
			t.Errorf("%q gives %v, %v", text, u, err)
		}
	}
	for _, text := range []string{
		"", "topsecret", "/topsecret", "ftp://topsecret/", "http:///topsecret",
		"http://relay:topsecret/webhook", "http://host/%topsecret", "http://host/\x00topsecret", "://topsecret",
	} {
		if u, err := ParseURL(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q gives %v, %v", text, u, err)
		}
	}
}
