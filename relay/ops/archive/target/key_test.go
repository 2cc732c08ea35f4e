package target_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
)

func TestKey(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 300)
	for address, want := range map[string]string{
		"https://h/a/b/c.png?x=/y.gif#/z":      "c.png",
		"https://h/../../x":                    "x",
		"https://h/a/..%2f..%2fx":              "_.._x",
		"https://h/%2e%2e%2f":                  "_",
		"https://h/%2e%2e":                     "file",
		"https://h/..":                         "file",
		"https://h/.bashrc":                    "bashrc",
		"https://h/...x":                       "x",
		"https://h/a%252e":                     "a_2e",
		"https://h/图片.png":                     "__.png",
		"https://h/%ff%fe.png":                 "__.png",
		"https://h/a%00b%0ac":                  "a_b_c",
		"https://h/C:%5Ccon.png":               "C__con.png",
		"https://h/a%zz.png":                   "file",
		"https://h":                            "file",
		"https://h/":                           "file",
		"https://h/a/":                         "file",
		"https://h/?file=a.png":                "file",
		"https://h/" + long + ".webp":          long[:95] + ".webp",
		"https://h/" + long:                    long[:100],
		"https://h/x." + long:                  "x." + long[:98],
		"https://h/x" + long + "." + long[:20]: "x" + long[:99],
		"mailto:a@b":                           "file",
		"::not a url":                          "file",
		"":                                     "file",
	} {
		if got := target.Key("task", 1, address); got != "task/01-"+want {
			t.Errorf("the key of %q is %q, want task/01-%s", address, got, want)
		}
	}
	for id, want := range map[string]string{"..": "=2E./07-x", ".": "=2E/07-x", ".git": "=2Egit/07-x", "a.:-_": "a.:-_/07-x"} {
		if got := target.Key(id, 7, "https://h/x"); got != want {
			t.Errorf("the key of the task %q is %q, want %q", id, got, want)
		}
	}
	if got := target.Key("t", 500, "https://h/x"); got != "t/500-x" {
		t.Errorf("the key of the 500th file is %q", got)
	}
}

// Whatever an address has, its key is that of a file that its location leads to.
func FuzzKey(f *testing.F) {
	f.Add("https://h/../%2e%2e%2fx.png", uint16(3))
	f.Add("https://h/"+strings.Repeat("é", 200)+".png", uint16(500))
	name := regexp.MustCompile(`^task/[0-9]{2,5}-[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$`)
	f.Fuzz(func(t *testing.T, address string, n uint16) {
		key := target.Key("task", int(n), address)
		if !name.MatchString(key) {
			t.Errorf("the key of %q is %q", address, key)
		}
		if _, got, err := target.ParseLocation("file:///srv/"+key, "task"); err != nil || got != key {
			t.Errorf("the location of %q is read as %q, %v", key, got, err)
		}
	})
}

func TestSniff(t *testing.T) {
	t.Parallel()
	for head, want := range map[string]string{
		"":                  "application/octet-stream",
		"\x00\x01\x02":      "application/octet-stream",
		"\x89PNG\r\n\x1a\n": "image/png",
		`<svg xmlns="http://www.w3.org/2000/svg"></svg>`: "image/svg+xml",
		"<!DOCTYPE html><script></script>":               "text/html; charset=utf-8",
		"RIFF\x00\x00\x00\x00WEBPVP8 ":                   "image/webp",
		"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00":       "video/mp4",
		"\x89PNG\r\n\x1a\n" + strings.Repeat("x", 5000):  "image/png",
	} {
		if got := target.Sniff([]byte(head)); got != want {
			t.Errorf("%.20q is taken for %s, want %s", head, got, want)
		}
	}
}
