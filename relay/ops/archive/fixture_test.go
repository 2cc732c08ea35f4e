package archive_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// place is a broker with the relay's stream of events, and an origin of files.
type place struct {
	js     jetstream.JetStream
	cfg    config.Config
	origin *origin
	log    natstest.Log
	folder string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{origin: newOrigin(t), folder: t.TempDir()}
	server := natstest.Start(t, natstest.Options(t))
	p.js = natstest.JetStream(t, server.ClientURL(), nats.MaxReconnects(-1))
	if _, err := p.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "APIXO", Subjects: []string{"apixo.task.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	var err error
	p.cfg, err = config.Load([]string{"RELAY_ARCHIVE_HOSTS=" + p.origin.URL, "RELAY_ARCHIVE_MAX_BYTES=100000"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// success stores the event of a task that has ended well, a day and more ago unless it is fresh.
func (p *place) success(t *testing.T, id string, fresh bool, result string) {
	t.Helper()
	completed := int64(1704067212500)
	if fresh {
		completed = time.Now().UnixMilli()
	}
	p.webhook(t, fmt.Sprintf(`{"data":{"taskId":%q,"state":"success","completeTime":%d,"resultJson":%s}}`, id, completed, result))
}

func (p *place) webhook(t *testing.T, body string) {
	t.Helper()
	msg, err := event.NewEncoder(p.cfg).Encode(event.Delivery{Body: []byte(body), Attributes: map[string]string{"model": "nano-banana"}, Received: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	p.publish(t, msg)
}

func (p *place) publish(t *testing.T, msg event.Message) {
	t.Helper()
	if _, err := p.js.PublishMsg(t.Context(), &nats.Msg{Subject: msg.Subject, Header: maps.Clone(msg.Header), Data: msg.Data}, jetstream.WithMsgID(msg.ID)); err != nil {
		t.Fatal(err)
	}
}

// urls is a result with these files of the origin.
func (p *place) urls(names ...string) string {
	for i, name := range names {
		names[i] = fmt.Sprintf("%q", p.origin.URL+"/"+name)
	}
	return `{"resultUrls":[` + strings.Join(names, ",") + `]}`
}

// fileTarget is the folder as a target, and natsTarget an object store.
func (p *place) fileTarget(t *testing.T) target.Target { return p.open(t, "file://"+p.folder, -1) }
func (p *place) natsTarget(t *testing.T) target.Target { return p.open(t, "nats:FILES", -1) }

func (p *place) open(t *testing.T, text string, maxBytes int64) target.Target {
	t.Helper()
	spec, err := target.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	to, err := spec.Open(t.Context(), target.Options{JetStream: p.js, MaxBytes: maxBytes, Replicas: 1, LargestFile: p.cfg.Archive.MaxBytes, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = to.Close() })
	return to
}

// options are those of a run that ends with what is there.
func (p *place) options(t *testing.T, to target.Target) archive.Options {
	client := download.New(download.Options{Hosts: p.cfg.Archive.Hosts, MaxBytes: p.cfg.Archive.MaxBytes, Agent: "test"})
	t.Cleanup(client.Close)
	return archive.Options{
		Conn: p.js.Conn(), Target: to, Client: client, Durable: archive.DefaultDurable, Since: archive.DefaultSince,
		Concurrency: 4, UntilNow: true,
	}.WithWaits(time.Millisecond, 2*time.Second)
}

func (p *place) archiver(t *testing.T, o archive.Options) *archive.Archiver {
	t.Helper()
	if o.Metrics == nil {
		o.Metrics = telemetry.NewArchiveMetrics("test")
	}
	a, err := archive.New(t.Context(), p.cfg, slog.New(slog.NewTextHandler(&p.log, nil)), o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run archives what is there.
func (p *place) run(t *testing.T, o archive.Options) archive.Summary {
	t.Helper()
	summary, err := p.archiver(t, o).Run(t.Context(), time.Minute)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log.String())
	}
	return summary
}

// start archives until the function that it returns is called, which returns what Run does.
func (p *place) start(t *testing.T, o archive.Options, grace time.Duration) (stop func() archive.Summary) {
	t.Helper()
	o.UntilNow = false
	return run(t, p.archiver(t, o), grace)
}

// run runs an archiver until stop is called.
func run(t *testing.T, a *archive.Archiver, grace time.Duration) (stop func() archive.Summary) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan archive.Summary, 1)
	go func() {
		summary, err := a.Run(ctx, grace)
		if err != nil {
			t.Error(err)
		}
		ended <- summary
	}()
	stop = sync.OnceValue(func() archive.Summary {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return stop
}

// told are the events of the archive's stream by the id of their task.
func (p *place) told(t *testing.T) map[string][]schema.ArchivedTask {
	t.Helper()
	all := make(map[string][]schema.ArchivedTask)
	for _, e := range natstest.Events(t, p.js, schema.DefaultArchive) {
		task, err := e.Archived()
		if err != nil {
			t.Fatal(err)
		}
		if e.Subject != task.ID || e.Model() != "nano-banana" || e.Type == schema.TypeTaskArchiveFailed != (len(task.Failures) > 0) {
			t.Errorf("the event %+v tells of %+v", e, task)
		}
		all[task.ID] = append(all[task.ID], task)
	}
	return all
}

// pending is how many events are not acknowledged.
func (p *place) pending(t *testing.T) int {
	t.Helper()
	c, err := p.js.Consumer(t.Context(), "APIXO", archive.DefaultDurable)
	if err != nil {
		t.Fatal(err)
	}
	return int(c.CachedInfo().NumPending) + c.CachedInfo().NumAckPending
}

// holds fails the test unless the target has a file as the event says, and the origin has it.
func (p *place) holds(t *testing.T, to target.Target, key string, file schema.ArchivedFile) {
	t.Helper()
	r, err := to.Get(t.Context(), key)
	if err != nil {
		t.Errorf("%s: %v", key, err)
		return
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("%s: %v", key, err)
	}
	digest := sha256.Sum256(got)
	u, err := url.Parse(file.URL)
	if err != nil {
		t.Fatal(err)
	}
	want := content(u.Path)
	if string(got) != want || file.Bytes != int64(len(want)) || file.SHA256 != hex.EncodeToString(digest[:]) || file.Location != to.Location(key) || file.MediaType != "image/png" {
		t.Errorf("%s has %d bytes, of %d; told: %+v", key, len(got), len(want), file)
	}
}

// content is that of a file of the origin: a picture by its beginning, and then its path.
func content(path string) string {
	return "\x89PNG\r\n\x1a\n" + strings.Repeat(path, 5000/len(path))
}

// origin has files, and answers in other ways under some paths.
type origin struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]int
	// healthy: what is under /503/ is there.
	healthy atomic.Bool
	// held is told of each request under /held/, which is answered when release is closed.
	held    chan string
	release chan struct{}
}

func newOrigin(t *testing.T) *origin {
	o := &origin{asked: make(map[string]int), held: make(chan string, 100), release: make(chan struct{})}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

// ServeHTTP implements http.Handler.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked[r.URL.Path]++
	o.mu.Unlock()
	body := content(r.URL.Path)
	switch strings.Split(r.URL.Path, "/")[1] {
	case "gone":
		http.Error(w, "expired", http.StatusForbidden)
		return
	case "503":
		if !o.healthy.Load() {
			w.Header().Set("Retry-After", r.URL.Query().Get("after"))
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
	case "large":
		body = strings.Repeat("x", 100_001)
	case "cut":
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		if !o.healthy.Load() {
			body = body[:len(body)/2]
		}
	case "held":
		_, _ = io.WriteString(w, body[:100])
		_ = http.NewResponseController(w).Flush()
		o.held <- r.URL.Path
		select {
		case <-o.release:
		case <-r.Context().Done():
		}
		body = body[100:]
	}
	_, _ = io.WriteString(w, body)
}

// requests is how often a path was asked for.
func (o *origin) requests(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[path]
}

// files are the paths of all files below the folder.
func (p *place) files(t *testing.T) (all []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(p.folder), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// await waits until something holds, and fails the test after two minutes.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for late := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("it did not happen in two minutes: %s", what)
		}
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
