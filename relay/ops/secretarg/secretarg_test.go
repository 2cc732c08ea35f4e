package secretarg_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/ops/secretarg"
)

const secret = "https://relay:tok-9f3c2a7d51e84b06@host/?a=b"

func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "callback.url")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRead(t *testing.T) {
	t.Parallel()
	environ := []string{"URL_2=no", "URL=" + secret, "xURL=no", "SPACES= \t" + secret + "\r\n", "TWICE=no", "TWICE=" + secret, "PLACE=@URL"}
	name := file(t, secret)
	for arg, want := range map[string]struct{ value, place string }{
		secret:       {secret, ""},
		"":           {"", ""},
		"-":          {"-", ""},
		"ENV:URL":    {"ENV:URL", ""},
		"x@" + name:  {"x@" + name, ""},
		"env:URL":    {secret, "the variable URL"},
		"env:SPACES": {secret, "the variable SPACES"},
		"env:TWICE":  {secret, "the variable TWICE"},
		"env:PLACE":  {"@URL", "the variable PLACE"}, // and not a file then
		"@" + name:   {secret, "the file " + name},
		"@-":         {secret, "standard input"},
	} {
		if value, place, err := secretarg.Read(arg, environ, strings.NewReader(" "+secret+"\n")); value != want.value || place != want.place || err != nil {
			t.Errorf("%q: %q from %q, %v; want %q from %q", arg, value, place, err, want.value, want.place)
		}
	}
	if value, _, err := secretarg.Read("@-", nil, strings.NewReader("\n")); value != "" || err == nil || err.Error() != "standard input is empty" {
		t.Errorf("nothing on standard input: %q, %v", value, err)
	}
	for form, content := range map[string]string{"a line": secret + "\n", "a line of Windows": "\ufeff" + secret + "\r\n", "white space": "\n\t " + secret + " \n\n"} {
		if value, _, err := secretarg.Read("@"+file(t, content), nil, nil); value != secret || err != nil {
			t.Errorf("%s: %q, %v", form, value, err)
		}
	}
}

func TestReadSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	environ := []string{"EMPTY=", "BLANK= \n", "URLS=" + secret}
	missing, empty, blank, large := filepath.Join(t.TempDir(), "nothing"), file(t, ""), file(t, " \n"), file(t, strings.Repeat(secret, 10_000))
	for arg, want := range map[string]string{
		"env:":           "the name of a variable is expected",
		"env:URL":        `"URL" is not set`,
		"env:urls":       `"urls" is not set`,
		"env:EMPTY":      `"EMPTY" is not set, or empty`,
		"env:BLANK":      `"BLANK" is not set, or empty`,
		"env:URLS=tok-1": "the name of a variable is expected", "env:" + secret: "the name of a variable is expected", "@" + secret: "a URL stands there",
		"@":               "the name of a file is missing",
		"@" + missing:     missing,
		"@" + empty:       empty + " is empty",
		"@" + blank:       blank + " is empty",
		"@" + large:       "is no secret",
		"@" + t.TempDir(): "is a directory",
	} {
		value, _, err := secretarg.Read(arg, environ, strings.NewReader(" "+secret+"\n"))
		if value != "" || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "tok-") {
			t.Errorf("%q: %q, %v; want %q", arg, value, err, want)
		}
	}
}
