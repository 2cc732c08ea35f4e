package target_test

import (
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"nats:files_1-A":                   "nats:files_1-A",
		"s3://my.bucket-1":                 "s3://my.bucket-1",
		"s3://bucket/":                     "s3://bucket",
		"s3://bucket/a/b-c_d.e!f*'()/":     "s3://bucket/a/b-c_d.e!f*'()",
		"s3://bucket/..a":                  "s3://bucket/..a",
		"file:///srv/files":                "file:///srv/files",
		"file:///srv/files/":               "file:///srv/files",
		"file:///srv/a%20b/%e2%82%ac%25@1": "file:///srv/a%20b/%E2%82%AC%25@1",
		"file:///srv/a b":                  "file:///srv/a%20b",
	} {
		s, err := target.Parse(text)
		if err != nil || s.String() != want {
			t.Errorf("%q is read as %q, %v; want %q", text, s, err, want)
			continue
		}
		if again, err := target.Parse(want); err != nil || again != s {
			t.Errorf("%q is read as %q, %v", want, again, err)
		}
	}
}

func TestParseSaysHowToWriteIt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                 "write nats:BUCKET, s3://BUCKET/PREFIX or file:///DIR",
		"/srv/files":                       "write nats:BUCKET, s3://BUCKET/PREFIX or file:///DIR",
		"http://h/x":                       "is of no kind",
		"S3://bucket":                      "is of no kind",
		"nats://127.0.0.1:4222":            "NATS_URL has",
		"nats:":                            "write nats:BUCKET",
		"nats:a.b":                         "write nats:BUCKET",
		"nats:a/b":                         "write nats:BUCKET",
		"nats:" + strings.Repeat("a", 201): "1 to 200",
		"s3://":                            "names no bucket",
		"s3://Bucket/x":                    "lower-case",
		"s3://10.0.0.1/x":                  "names no bucket",
		"s3://bucket//x":                   "single slashes",
		"s3://bucket//":                    "without a name",
		"s3://bucket/a/../b":               "no segment . or ..",
		"s3://bucket/.":                    "no segment . or ..",
		"s3://bucket/a b":                  "not safe",
		"s3://bucket/a%20b":                "not safe",
		"s3://bucket/a?b=c":                "not safe",
		"s3://bucket/" + strings.Repeat("a", 513): "512 bytes",
		"file:srv/files":           "three slashes",
		"file:/srv/files":          "three slashes",
		"file://srv/files":         "another host",
		"file://./files":           "relative",
		"file:///":                 "root of the disk",
		"file:///srv//files":       "empty segment",
		"file:///srv/../files":     ".. in it",
		"file:///srv/%2e%2e/files": ".. in it",
		"file:///srv/.":            ". or a ..",
		"file:///srv/a%zz":         "write %25",
		"file:///srv/a%00b":        "empty segment",
		"file:///srv/a?b":          "write %3F",
	} {
		if s, err := target.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is read as %q, %v; want the words %q", text, s, err, want)
		}
	}
}

func TestParseShowsNoPassword(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"s3://AKIA:hunter2@bucket/x", "nats://user:hunter2@h:4222", "file://user:hunter2@h/x", "hunter2@x"} {
		if s, err := target.Parse(text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q is read as %q, %v", text, s, err)
		}
	}
}

func TestParseLocation(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"nats:files/t:1/01-a.png":           "nats:files t:1/01-a.png",
		"s3://bucket/t:1/01-a.png":          "s3://bucket t:1/01-a.png",
		"s3://bucket/p/q/t:1/500-a..png":    "s3://bucket/p/q t:1/500-a..png",
		"file:///srv/a%20b/t:1/02-_._x.png": "file:///srv/a%20b t:1/02-_._x.png",
		"file:///srv/t:1/t:1/02-x":          "file:///srv/t:1 t:1/02-x",
	} {
		s, key, err := target.ParseLocation(location, "t:1")
		if err != nil || s.String()+" "+key != want {
			t.Errorf("%q is read as %s, %q, %v", location, s, key, err)
		}
	}
	if s, key, err := target.ParseLocation("nats:files/=2E./01-x", ".."); err != nil || key != "=2E./01-x" {
		t.Errorf("the location of the task .. is read as %s, %q, %v", s, key, err)
	}
	for _, location := range []string{
		"", "/", "01-a", "t:1/01-a.png", "/t:1/01-a.png", "file:///t:1/01-a.png", "file:///srv/t:2/01-a.png", "file:///srv/t:1/a.png",
		"file:///srv/t:1/1-a.png", "file:///srv/t:1/01-.x", "file:///srv/t:1/01-a b", "file:///srv/t:1/01-a%2e", "file:///srv/t:1/01-",
		"file:///srv/t:1/01-a/", "file:///srv/../etc/t:1/01-a", "file:///srv/%2e%2e/etc/t:1/01-a", "file://h/srv/t:1/01-a",
		"file:///srv/t%3A1/01-a", "file:///srv/t:1/.01-a.ABCDEFGHIJKLMNOPQRSTUVWXYZ.part", "file:///srv/t:1/01-" + strings.Repeat("a", 101),
		"file:///srv/a b/t:1/01-a", "s3://bucket//t:1/01-a", "s3://BUCKET/t:1/01-a", "nats:a.b/t:1/01-a", "nats:files/p/t:1/01-a",
		"https://h/t:1/01-a", "s3://key:secret@bucket/t:1/01-a", "file:///srv/t:1/01-a\n",
	} {
		if s, key, err := target.ParseLocation(location, "t:1"); err == nil {
			t.Errorf("%q is read as %s, %q", location, s, key)
		}
	}
	if _, _, err := target.ParseLocation("file:///srv/../etc/01-x", ".."); err == nil {
		t.Error("the id .. leads out of a folder")
	}
}

// Whatever an event says, what is read is a file of its task in a target that could be named.
func FuzzParseLocation(f *testing.F) {
	f.Add("s3://bucket/p/t:1/01-a.png", "t:1")
	f.Add("file:///srv/a%20b/=2E./02-x", "..")
	f.Add("nats:files/t/100-x", "t")
	f.Fuzz(func(t *testing.T, location, id string) {
		s, key, err := target.ParseLocation(location, id)
		if err != nil {
			return
		}
		if again, err := target.Parse(s.String()); err != nil || again != s {
			t.Errorf("%q is read as the target %q, which is read as %q, %v", location, s, again, err)
		}
		if s.String()+"/"+key != location {
			t.Errorf("%q is read as %q and %q", location, s, key)
		}
		folder, name, _ := strings.Cut(key, "/")
		if folder == "" || strings.HasPrefix(folder, ".") || strings.ContainsAny(name, "/\\\x00") || strings.HasPrefix(name, ".") {
			t.Errorf("%q is read as the key %q", location, key)
		}
	})
}
