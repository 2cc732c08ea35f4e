package ui

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/schema"
)

// picture is a PNG of some size.
func picture(t testing.TB, width int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewRGBA(image.Rect(0, 0, width, width))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// archive is a target, and the stream that tells of it.
type archive struct {
	*store
	target.Target
}

func (s *store) archive(t testing.TB, to string) *archive {
	t.Helper()
	_, err := s.js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: schema.DefaultArchive, Subjects: []string{schema.ArchiveSubjects("apixo")}})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := target.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := spec.Open(t.Context(), target.Options{JetStream: s.js, LargestFile: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return &archive{s, opened}
}

// put stores a file, and returns what an event tells of it.
func (a *archive) put(t testing.TB, id, name, address string, content []byte) schema.ArchivedFile {
	t.Helper()
	folder := id
	if rest, ok := strings.CutPrefix(id, "."); ok {
		folder = "=2E" + rest
	}
	key := folder + "/" + name
	stored, err := a.Put(t.Context(), key, bytes.NewReader(content), target.Meta{Source: address})
	if err != nil {
		t.Fatal(err)
	}
	return schema.ArchivedFile{URL: address, Location: a.Location(key), Bytes: stored.Bytes, MediaType: target.Sniff(content), SHA256: stored.SHA256}
}

// tell stores the event of an archived task.
func (a *archive) tell(t testing.TB, id string, failures []schema.ArchiveFailure, files ...schema.ArchivedFile) {
	t.Helper()
	msg, err := a.encoder.Archived(schema.ArchivedTask{ID: id, Files: files, Failures: failures}, a.String(), nil, time.Now())
	a.publish(t, msg, err)
}

// expiredSuccess is a webhook of a task that has ended two days ago.
func expiredSuccess(id string, urls ...string) string {
	then := time.Now().Add(-48 * time.Hour).UnixMilli()
	return strings.NewReplacer(`"completeTime":`, fmt.Sprintf(`"completeTime":%d,"was":`, then)).Replace(success(id, urls...))
}

// archived waits until the page knows what the archive tells of n tasks.
func (p *site) archived(n int) {
	p.t.Helper()
	p.eventually("the feed knows the archive", func() bool { return p.feed.Status().Archive.Indexed >= n })
}

// Where the addresses of a result have expired, what is shown of it is what the archive has, and
// the page serves it.
func TestArchivedTask(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const first, second, third, fourth = "https://cdn.apixo.ai/a.png", "https://cdn.apixo.ai/b.zip", "https://elsewhere.example/c.png", "https://cdn.apixo.ai/d.png"
	s.webhook(t, expiredSuccess("task_1", first, second, third, fourth))
	s.webhook(t, success("task_2", first))
	a := s.archive(t, "nats:FILES")
	content := picture(t, 3)
	zip := []byte("PK\x03\x04 and so on")
	a.tell(t, "task_1", []schema.ArchiveFailure{{URL: third, Reason: schema.ReasonGone, Detail: "the origin answered 404"}},
		a.put(t, "task_1", "01-a.png", first, content), a.put(t, "task_1", "02-b.zip", second, zip))
	a.tell(t, "task_2", nil, a.put(t, "task_2", "01-a.png", first, content))
	a.tell(t, "task_gone", nil, a.put(t, "task_gone", "01-a.png", first, content))
	a.tell(t, "task_none", nil)
	p := s.site(t)
	p.known(s)
	p.archived(4)

	d := p.view("task", "/tasks/task_1")
	if got := d.attrs("div#media img", "src"); len(got) != 2 || got[0] != "/tasks/task_1/files/1" || got[1] != fourth {
		t.Errorf("%q are shown", got)
	}
	d.one("#media").says("the archive has it, as application/zip")
	d.one("#media").says("the archive does not have it: gone")
	d.none("[class=media-ask] a")
	d.says("What is shown is from the archive.")
	d.one("table#archive").says("nats:FILES/task_1/02-b.zip")
	d.one("ul#archive-failures").says("gone the origin answered 404 " + third)
	d.one("pre#commands").says("apixo-relay fetch task_1")
	if steps := d.texts("ol#timeline li"); !strings.HasPrefix(steps[len(steps)-1], "archived in part") || !strings.HasSuffix(steps[len(steps)-1], "in nats:FILES") {
		t.Errorf("the timeline is %q", steps)
	}
	got := p.get("/tasks/task_1/files/1")
	if got.StatusCode != http.StatusOK || got.body != string(content) {
		t.Fatalf("the picture: %d, %d bytes", got.StatusCode, len(got.body))
	}
	for name, want := range map[string]string{
		"Content-Type": "image/png", "Content-Disposition": "", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
		"Cross-Origin-Resource-Policy": "same-origin", "Etag": `"` + digest(content) + `"`,
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("%s of a picture is %q, want %q", name, value, want)
		}
	}
	if again := p.get("/tasks/task_1/files/1", "If-None-Match", got.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || again.body != "" {
		t.Errorf("what is known already: %d", again.StatusCode)
	}
	if head := p.do(p.request(http.MethodHead, "/tasks/task_1/files/1", nil)); head.ContentLength != int64(len(content)) {
		t.Errorf("the length is said to be %d", head.ContentLength)
	}
	if got := p.get("/tasks/task_1/files/2"); got.body != string(zip) || got.Header.Get("Content-Type") != "application/octet-stream" || got.Header.Get("Content-Disposition") != `attachment; filename="02-b.zip"` {
		t.Errorf("the archive file: %q, %v", got.body, got.Header)
	}
	for _, missing := range []string{"/tasks/task_1/files/3", "/tasks/task_1/files/x", "/tasks/task_1/files/0", "/tasks/unknown/files/1"} {
		p.get(missing).refused(t, http.StatusNotFound, "file")
	}

	// Before that, they are those of the result.
	d = p.view("task", "/tasks/task_2")
	if got := d.attrs("div#media img", "src"); len(got) != 1 || got[0] != first {
		t.Errorf("%q are shown before the addresses expire", got)
	}
	d.one("table#archive").says("nats:FILES/task_2/01-a.png")
	// An event that is gone leaves what the archive tells.
	d = p.view("task", "/tasks/task_gone")
	d.one("div#media img[src=/tasks/task_gone/files/1]")
	d.says("No event is stored for it any more")
	p.view("task", "/tasks/task_none").says("There are no addresses in the result")
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Ids of dots are found, too.
func TestArchivedTaskOfDots(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a := s.archive(t, "nats:FILES")
	a.tell(t, "..", nil, a.put(t, "..", "01-a.png", "https://cdn.apixo.ai/a.png", picture(t, 3)))
	p := s.site(t)
	p.archived(1)
	src := p.view("task", "/tasks?id=..").one("#media img").attr("src")
	if got := p.get(src); got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "image/png" {
		t.Errorf("%s: %d", src, got.StatusCode)
	}
}

// What can do something in a browser is for saving, whatever it is called, and nothing is read
// that is not a file of the task.
func TestArchivedFilesAreNotTrusted(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	dir := t.TempDir()
	a := s.archive(t, "file://"+dir)
	const address = "https://cdn.apixo.ai/a.png"
	for i, content := range []string{`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`, `<!doctype html><script>alert(1)</script>`, `%PDF-1.7`, `alert(1)`, ``} {
		id := fmt.Sprint("hostile_", i)
		f := a.put(t, id, "01-a.png", address, []byte(content))
		f.MediaType = "image/png"
		a.tell(t, id, nil, f)
	}
	f := a.put(t, "typed", "01-a.png", address, picture(t, 3))
	f.MediaType = "text/html"
	a.tell(t, "typed", nil, f)
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := schema.ArchivedFile{URL: address, Location: "file://" + dir + "/secret", Bytes: 6, MediaType: "image/png", SHA256: digest([]byte("secret"))}
	other := a.put(t, "typed", "02-b.png", address, picture(t, 4))
	a.tell(t, "outside", nil, outside, other)
	p := s.site(t)
	p.archived(7)
	for i := range 5 {
		got := p.get(fmt.Sprintf("/tasks/hostile_%d/files/1", i))
		if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "application/octet-stream" || got.Header.Get("Content-Disposition") != `attachment; filename="01-a.png"` {
			t.Errorf("%q is served by %d as %v", got.body, got.StatusCode, got.Header)
		}
	}
	if got := p.get("/tasks/typed/files/1"); got.Header.Get("Content-Disposition") == "" {
		t.Errorf("a picture that the archive calls otherwise is shown")
	}
	for n := range 4 {
		p.get(fmt.Sprintf("/tasks/outside/files/%d", n)).refused(t, http.StatusNotFound, "no file")
	}
	d := p.view("task", "/tasks/outside")
	d.none("#media img")
	d.says("is not that of a file of the task")
}

// What is not what was archived is not shown, or at least not to its end.
func TestArchivedFileDiffers(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	dir := t.TempDir()
	a := s.archive(t, "file://"+dir)
	const address = "https://cdn.apixo.ai/a.png"
	large := append(picture(t, 3), make([]byte, 5*fileBlock)...)
	for name, content := range map[string][]byte{"small": picture(t, 3), "large": large, "longer": picture(t, 3), "shorter": large} {
		f := a.put(t, name, "01-a.png", address, content)
		switch name {
		case "longer":
			f.Bytes--
		case "shorter":
			f.Bytes++
		default:
			f.SHA256 = strings.Repeat("0", 64)
		}
		a.tell(t, name, nil, f)
	}
	gone := a.put(t, "gone", "01-a.png", address, large)
	a.tell(t, "gone", nil, gone)
	if err := os.RemoveAll(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	p := s.site(t)
	p.archived(5)
	p.get("/tasks/small/files/1").refused(t, http.StatusBadGateway, "is not what was archived")
	p.get("/tasks/longer/files/1").refused(t, http.StatusBadGateway, "is not what was archived")
	p.get("/tasks/gone/files/1").refused(t, http.StatusNotFound, "apixo-relay fetch gone")
	for _, name := range []string{"large", "shorter"} {
		resp, err := p.client.Do(p.request(http.MethodGet, "/tasks/"+name+"/files/1", nil))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if !errors.Is(err, io.ErrUnexpectedEOF) || n >= int64(len(large)) {
			t.Errorf("%s: %d bytes come, and then %v", name, n, err)
		}
	}
}

// One that cannot be reached is not shown, and another target has it; a range of bytes is served
// where that is cheap.
func TestArchivedInTwoTargets(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const address = "https://cdn.apixo.ai/a.png"
	content := picture(t, 3)
	folder := s.archive(t, "file://"+t.TempDir())
	folder.tell(t, "task_1", nil, folder.put(t, "task_1", "01-a.png", address, content))
	lost := s.archive(t, "nats:LOST")
	f := lost.put(t, "task_1", "01-a.png", address, content)
	lost.tell(t, "task_1", nil, f)
	f.Location = strings.Replace(f.Location, "/task_1/", "/task_2/", 1)
	lost.tell(t, "task_2", nil, f)
	if err := s.js.DeleteObjectStore(t.Context(), "LOST"); err != nil {
		t.Fatal(err)
	}
	p := s.site(t)
	p.archived(3)
	d := p.view("task", "/tasks/task_1")
	d.one("#media img[src=/tasks/task_1/files/1]")
	d.says("The files in nats:LOST cannot be shown from here")
	if got := p.get("/tasks/task_1/files/1"); got.body != string(content) || got.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("%d: %d bytes, %v", got.StatusCode, len(got.body), got.Header)
	}
	if got := p.get("/tasks/task_1/files/1", "Range", "bytes=1-3"); got.StatusCode != http.StatusPartialContent || got.body != "PNG" || got.Header.Get("Content-Type") != "image/png" {
		t.Errorf("a range: %d %q", got.StatusCode, got.body)
	}
	d = p.view("task", "/tasks/task_2")
	d.none("#media img")
	d.one("#media").says("cannot be reached from here")
}

// Who has not signed in reads no file.
func TestArchivedFileNeedsSignIn(t *testing.T) {
	t.Parallel()
	const secret = "a-secret-of-many-characters"
	s := newStore(t)
	a := s.archive(t, "nats:FILES")
	a.tell(t, "task_1", nil, a.put(t, "task_1", "01-a.png", "https://cdn.apixo.ai/a.png", picture(t, 3)))
	p := s.siteWith(t, true, "RELAY_UI_TOKENS="+secret)
	p.archived(1)
	if got := p.get("/tasks/task_1/files/1"); got.StatusCode != http.StatusSeeOther || got.Header.Get("Content-Type") == "image/png" {
		t.Errorf("without a session: %d", got.StatusCode)
	}
	if got := p.get("/tasks/task_1/files/1", "Authorization", "Bearer "+secret); got.StatusCode != http.StatusOK {
		t.Errorf("with a secret: %d", got.StatusCode)
	}
}
