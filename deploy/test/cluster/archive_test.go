package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

const (
	archiveConsumer = "apixo-archive"
	archiveTarget   = "nats:APIXO_FILES"
	archiveStream   = "APIXO_ARCHIVE"
	objectStream    = "OBJ_APIXO_FILES"
	deadStream      = "DEAD_LETTERS"
)

// archiveDeeds are what the archive does, and what others do where there is one.
var archiveDeeds = []deed{
	{"archive", "archive", false, []string{
		"$JS.API.STREAM.MSG.GET.APIXO",
		"$JS.API.CONSUMER.CREATE.APIXO.apixo-archive.apixo.task.success", "$JS.API.CONSUMER.INFO.APIXO.apixo-archive",
		"$JS.API.CONSUMER.MSG.NEXT.APIXO.apixo-archive", "$JS.ACK.APIXO.apixo-archive.>",
		"$JS.API.STREAM.CREATE.APIXO_ARCHIVE", "$JS.API.STREAM.INFO.APIXO_ARCHIVE", "apixo.archive.stored",
		"$JS.API.STREAM.CREATE.OBJ_APIXO_FILES", "$JS.API.STREAM.INFO.OBJ_APIXO_FILES",
		"$O.APIXO_FILES.>", "$JS.API.DIRECT.GET.OBJ_APIXO_FILES.>", relayInbox,
	}, func(t *testing.T, ctx context.Context, b *bench) error {
		task, files := b.taskWithFiles(t)
		if err := b.archive(ctx, files); err != nil {
			return err
		}
		return errors.Join(b.hasFile(t, ctx, task), b.hasTold(t, ctx, "apixo.archive.stored", 2)) // one has no addresses
	}},
	{"archive", "tell what cannot be had", false, []string{"apixo.archive.failed"}, func(t *testing.T, ctx context.Context, b *bench) error {
		_, files := b.taskWithFiles(t)
		files.Config.Handler = http.NotFoundHandler()
		if err := b.archive(ctx, files); err == nil || !strings.Contains(err.Error(), "files that are not archived") {
			return fmt.Errorf("what is gone was archived: %w", err)
		}
		return b.hasTold(t, ctx, "apixo.archive.failed", 1)
	}},
	{"archive", "put aside what is no task's event", false, []string{
		"$JS.API.STREAM.CREATE.DEAD_LETTERS", "$JS.API.STREAM.INFO.DEAD_LETTERS", "dead.apixo-archive",
	}, func(t *testing.T, ctx context.Context, b *bench) error {
		_, js := b.connect(t, maker)
		if _, err := js.Publish(ctx, "apixo.task.success", []byte("{")); err != nil {
			return err
		}
		if err := b.archive(ctx, nil); err == nil || !strings.Contains(err.Error(), "dead letter") {
			return fmt.Errorf("there is no dead letter: %w", err)
		}
		return b.holds(t, ctx, deadStream, "dead.apixo-archive", 1)
	}},
	{"archive", "replace a file, and remove the old one", false, []string{"$JS.API.STREAM.PURGE.OBJ_APIXO_FILES"}, func(t *testing.T, ctx context.Context, b *bench) error {
		_, js := b.connect(t, maker)
		store, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "APIXO_FILES"})
		if err != nil {
			return err
		}
		task, files := b.taskWithFiles(t)
		if _, err := store.PutString(ctx, task+"/01-a.txt", "another one"); err != nil {
			return err
		}
		if err := b.archive(ctx, files); err != nil {
			return err
		}
		stream, err := js.Stream(ctx, objectStream)
		if err == nil && stream.CachedInfo().State.Msgs != 2 {
			err = fmt.Errorf("the object store has %d messages for one file", stream.CachedInfo().State.Msgs)
		}
		return errors.Join(err, b.hasFile(t, ctx, task))
	}},
	{"archive", "clean the object store", false, []string{
		"$JS.API.CONSUMER.CREATE.OBJ_APIXO_FILES.>", "$JS.API.CONSUMER.MSG.NEXT.OBJ_APIXO_FILES.*", "$JS.API.CONSUMER.DELETE.OBJ_APIXO_FILES.*",
	}, cleanObjects},
	{"archive", "tell nothing again, after longer than the window", false, []string{
		"$JS.API.CONSUMER.CREATE.APIXO_ARCHIVE.>", "$JS.API.CONSUMER.MSG.NEXT.APIXO_ARCHIVE.*", "$JS.API.CONSUMER.DELETE.APIXO_ARCHIVE.*",
	}, archiveAgain},
	{"operator", "fetch archived files", false, []string{info, create, fetch, "$JS.API.CONSUMER.DELETE.*.*", "$JS.API.DIRECT.GET.>"}, func(t *testing.T, ctx context.Context, b *bench) error {
		task, files := b.taskWithFiles(t)
		if err := b.archive(t.Context(), files); err != nil {
			return err
		}
		dir := t.TempDir()
		if out, err := b.command(ctx, "operator", nil, "fetch", task, "--out", dir); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		file, err := os.ReadFile(filepath.Join(dir, task, "01-a.txt"))
		if err == nil && string(file) != "a file" {
			err = fmt.Errorf("the file is %q", file)
		}
		return err
	}},
	{"relay", "check how far behind the archive is", false, []string{
		"$JS.API.CONSUMER.INFO.APIXO.apixo-archive", "$JS.API.STREAM.INFO.APIXO_ARCHIVE",
	}, func(t *testing.T, ctx context.Context, b *bench) error {
		if err := b.archive(t.Context(), nil); err != nil {
			return err
		}
		return errors.Join(b.says(ctx, "relay", "the files of all results are archived", "check"), b.says(ctx, "relay", "APIXO_ARCHIVE has told of files 1 times", "check"))
	}},
}

// taskWithFiles stores the event of a task with one file, and starts an origin that has it.
func (b *bench) taskWithFiles(t *testing.T) (task string, origin *httptest.Server) {
	t.Helper()
	origin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a file")) }))
	t.Cleanup(origin.Close)
	task = b.task()
	_, js := b.connect(t, maker)
	event := fmt.Sprintf(`{"specversion":"1.0","id":%[1]q,"source":"test","type":"ai.apixo.task.success","subject":%[1]q,"datacontenttype":"application/json","data":{"taskId":%[1]q,"state":"success","resultUrls":[%[2]q]}}`, task, origin.URL+"/a.txt")
	msg := &nats.Msg{Subject: "apixo.task.success", Data: []byte(event), Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}}
	if _, err := js.PublishMsg(t.Context(), msg, jetstream.WithMsgID(task)); err != nil {
		t.Fatal(err)
	}
	return task, origin
}

// archive stores what there is, and ends.
func (b *bench) archive(ctx context.Context, origin *httptest.Server, environ ...string) error {
	out, err := b.command(ctx, "archive", b.archiveEnviron(origin, environ...), "archive", "--to", archiveTarget, "--until-now")
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return err
}

func (b *bench) archiveEnviron(origin *httptest.Server, environ ...string) []string {
	if origin != nil {
		environ = append(environ, "RELAY_ARCHIVE_HOSTS="+origin.URL)
	}
	return environ
}

// hasFile wants a task's file in the object store.
func (b *bench) hasFile(t *testing.T, ctx context.Context, task string) error {
	t.Helper()
	_, js := b.connect(t, maker)
	store, err := js.ObjectStore(ctx, "APIXO_FILES")
	if err != nil {
		return err
	}
	if text, err := store.GetString(ctx, task+"/01-a.txt"); err != nil || text != "a file" {
		return errors.Join(err, fmt.Errorf("the file is %q", text))
	}
	return nil
}

func (b *bench) hasTold(t *testing.T, ctx context.Context, subject string, times uint64) error {
	t.Helper()
	return b.holds(t, ctx, archiveStream, subject, times)
}

// holds wants so many messages of a subject in a stream, and no consumer.
func (b *bench) holds(t *testing.T, ctx context.Context, name, subject string, messages uint64) error {
	t.Helper()
	_, js := b.connect(t, maker)
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err == nil && (info.State.Subjects[subject] != messages || info.State.Consumers != 0) {
		err = fmt.Errorf("%s has %d messages on %s and %d consumers, not %d and none", name, info.State.Subjects[subject], subject, info.State.Consumers, messages)
	}
	return err
}

// cleanObjects has the archive look through an object store that has a file.
func cleanObjects(t *testing.T, ctx context.Context, b *bench) error {
	_, js := b.connect(t, maker)
	store, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "APIXO_FILES"})
	if err != nil {
		return err
	}
	if _, err := store.PutString(ctx, "task/01-a.txt", "a file"); err != nil {
		return err
	}
	conn, _ := b.connect(t, maker)
	deleted, err := conn.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.DELETED." + objectStream + ".>")
	if err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.relay, "archive", "--to", archiveTarget)
	cmd.Env = relaytest.Environ(b.environ("archive", "RELAY_ADMIN_ADDR=off", "RELAY_SHUTDOWN_TIMEOUT=5s")...)
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = deleted.NextMsgWithContext(ctx)
	// It is told of when it could not be read, too.
	for _, line := range b.violations(t) {
		err = errors.Join(err, errors.New(line))
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	return errors.Join(err, cmd.Wait())
}

// archiveAgain has an event come again that was dealt with, as after a kill before its
// acknowledgement.
func archiveAgain(t *testing.T, ctx context.Context, b *bench) error {
	const window = "RELAY_DEDUPE_WINDOW=100ms"
	if err := b.archive(t.Context(), nil, window); err != nil {
		return err
	}
	_, js := b.connect(t, maker)
	consumer, err := js.Consumer(ctx, "APIXO", archiveConsumer)
	if err != nil {
		return err
	}
	again := consumer.CachedInfo().Config
	again.OptStartTime, again.DeliverPolicy = nil, jetstream.DeliverAllPolicy
	if err := js.DeleteConsumer(ctx, "APIXO", archiveConsumer); err != nil {
		return err
	}
	if consumer, err = js.CreateConsumer(ctx, "APIXO", again); err != nil {
		return err
	}
	msg, err := consumer.Next(jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	if err := errors.Join(msg.Nak(), b.archive(ctx, nil, window)); err != nil {
		return err
	}
	return b.hasTold(t, ctx, "apixo.archive.stored", 1)
}
