// Package image_test builds the Dockerfile with buildah, which needs no daemon, and
// runs what comes of it. In the place of the base images, which a registry has, come
// stand-ins: what is tried is the Dockerfile, and not them.
package image_test

import (
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// epoch is the SOURCE_DATE_EPOCH of the builds.
var epoch = time.Unix(1700000000, 0)

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

var buildArgs = []string{"VERSION=v1.2.3", "REVISION=0123abc", "CREATED=2023-11-14T22:13:20Z", "SOURCE_DATE_EPOCH=1700000000"}

func TestImage(t *testing.T) {
	t.Parallel()
	engine.Need(t, "buildah", "busybox")
	download(t)
	b := newBuilder(t)
	here, elsewhere := "amd64", "arm64"
	if runtime.GOARCH == elsewhere {
		here, elsewhere = elsewhere, here
	}
	id := b.build(t, relaytest.Root, "linux/"+here, baseImage, buildArgs...)
	built := b.inspect(t, id)
	root := b.rootFS(t, id)

	t.Run("config", func(t *testing.T) { checkConfig(t, built) })
	t.Run("files", func(t *testing.T) { checkFiles(t, root) })
	t.Run("the same bytes from another folder", func(t *testing.T) {
		again := b.inspect(t, b.build(t, copySource(t), "linux/"+here, baseImage, buildArgs...))
		if !slices.Equal(built.RootFS.DiffIDs, again.RootFS.DiffIDs) {
			t.Errorf("the layers differ: %v, %v", built.RootFS.DiffIDs, again.RootFS.DiffIDs)
		}
	})
	t.Run("another platform", func(t *testing.T) {
		// From scratch: this buildah finds no local image of another platform.
		other := b.build(t, relaytest.Root, "linux/"+elsewhere, "scratch", buildArgs...)
		if i := b.inspect(t, other); i.Architecture != elsewhere || i.OS != "linux" {
			t.Errorf("it is for %s/%s", i.OS, i.Architecture)
		}
		expectMachine(t, b.rootFS(t, other), machines[elsewhere])
		expectMachine(t, root, machines[here])
	})
	t.Run("run", func(t *testing.T) { runImage(t, built, root) })
}

func checkConfig(t *testing.T, i image) {
	c := i.Config
	expect(t, "user", c.User, "65532:65532")
	expect(t, "entrypoint", c.Entrypoint, []string{"/apixo-relay"})
	expect(t, "command", len(c.Cmd), 0)
	expect(t, "ports", c.ExposedPorts, map[string]struct{}{"8720/tcp": {}, "8721/tcp": {}})
	expect(t, "volumes", c.Volumes, map[string]struct{}{"/data": {}})
	expect(t, "health check", c.Healthcheck.Test, []string{"CMD", "/apixo-relay", "check", "--probe", "health"})
	if h := c.Healthcheck; h.Timeout <= 2*time.Second || h.Interval <= h.Timeout || h.StartPeriod <= 0 {
		t.Errorf("the health check waits so long: %+v; the probe gives up after 2 s by itself", h)
	}
	var settings []string
	for _, v := range c.Env {
		if !strings.HasPrefix(v, "PATH=") {
			settings = append(settings, v)
		}
	}
	expect(t, "environment", settings, []string{"RELAY_LISTEN_ADDR=:8720", "RELAY_ADMIN_ADDR=:8721", "RELAY_DATA_DIR=/data"})
	delete(c.Labels, "io.buildah.version")
	const prefix = "org.opencontainers.image."
	expect(t, "labels", c.Labels, map[string]string{
		prefix + "title":       "apixo-relay",
		prefix + "description": "Receives APIXO's webhooks and stores each as a CloudEvent in NATS JetStream",
		prefix + "source":      "https://github.com/apixo-relay/apixo-relay",
		prefix + "version":     "v1.2.3", prefix + "revision": "0123abc", prefix + "created": "2023-11-14T22:13:20Z",
	})
}

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, and %v was expected", what, got, want)
	}
}

// checkFiles wants the program, its data folder and further files, and nothing that the base has
// not.
func checkFiles(t *testing.T, root string, further ...string) {
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		if !d.IsDir() || name == "/data" {
			all = append(all, name)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		switch {
		case name == "" && owner.Uid != 0,
			name == "/apixo-relay" && (owner.Uid != 0 || info.Mode() != 0o755 || !info.ModTime().Equal(epoch)),
			name == "/data" && (owner.Uid != 65532 || owner.Gid != 65532 || !info.ModTime().Equal(epoch)):
			t.Errorf("%s is %v of %d:%d from %v", name, info.Mode(), owner.Uid, owner.Gid, info.ModTime())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := append([]string{"/apixo-relay", "/data", "/etc/passwd", "/etc/ssl/certs/ca-certificates.crt"}, further...)
	slices.Sort(want)
	slices.Sort(all)
	expect(t, "files", all, want)
}

func expectMachine(t *testing.T, root string, want elf.Machine) {
	t.Helper()
	program, err := elf.Open(filepath.Join(root, "apixo-relay"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	made, err := buildinfo.ReadFile(filepath.Join(root, "apixo-relay"))
	if err != nil || !slices.Contains(made.Settings, debug.BuildSetting{Key: "-trimpath", Value: "true"}) {
		t.Errorf("the program knows in which folder it was made: %v", err)
	}
	if program.Machine != want {
		t.Errorf("the program is for %v, %v was expected", program.Machine, want)
	}
	if libraries, _ := program.ImportedLibraries(); len(libraries) > 0 || program.Section(".interp") != nil {
		t.Errorf("the program is not static: it needs %v", libraries)
	}
}

// copySource is the source in another folder, with other times and without a history.
func copySource(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"cmd", "relay", "schema", "go.mod", "go.sum", "Dockerfile", ".dockerignore"} {
		if out, err := exec.Command("cp", "-R", filepath.Join(relaytest.Root, name), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return dir
}

const webhook = `{"code":200,"data":{"taskId":"task_of_the_image","state":"success","resultJson":"{\"resultUrls\":[]}"}}`

// runImage runs the image as 'docker run --read-only --cap-drop ALL' does.
func runImage(t *testing.T, i image, root string) {
	network := engine.NewNetwork(t)
	data := t.TempDir()
	if err := os.Chown(data, 65532, 65532); err != nil { // as the image's own folder is
		t.Fatal(err)
	}
	c := engine.Container{
		Name: "relay", Root: root, Network: network,
		Env: i.Config.Env, UID: 65532, GID: 65532, Powerless: true, Args: i.Config.Entrypoint,
		Mounts: []engine.Mount{{Source: data, Target: "/data", Writable: true}},
	}
	t.Run("without tokens it says what is missing", func(t *testing.T) {
		if out, code := c.Output(t); code != 2 || !strings.Contains(out, "RELAY_WEBHOOK_TOKENS") {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
	const token = "a-token-of-the-test"
	c.Env = append(slices.Clone(c.Env), "RELAY_WEBHOOK_TOKENS="+token)
	client := &http.Client{Transport: &http.Transport{DialContext: network.Dial, DisableKeepAlives: true}, Timeout: 30 * time.Second}
	deliver := func(t *testing.T) (answer struct {
		Sequence  int
		Duplicate bool
	}) {
		r, err := client.Post("http://relay:8720/webhook/apixo/"+token, "application/json", strings.NewReader(webhook))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK || json.Unmarshal(body, &answer) != nil {
			t.Fatalf("%s: %s, %v", r.Status, body, err)
		}
		return answer
	}
	t.Run("it takes a webhook", func(t *testing.T) {
		r := relaytest.Run(t, c.Command(t))
		if a := deliver(t); a.Duplicate || a.Sequence != 1 {
			t.Errorf("%+v", a)
		}
		if out, code := c.Exec(t, r.Process, nil, i.Config.Healthcheck.Test[1:]...); code != 0 || out != "the relay at 127.0.0.1:8721 is ok\n" {
			t.Errorf("the health check: exit code %d, %s", code, out)
		}
		if out, code := c.Exec(t, r.Process, []string{"RELAY_ADMIN_ADDR=:8722"}, i.Config.Healthcheck.Test[1:]...); code != 1 {
			t.Errorf("the health check where there is no relay: exit code %d, %s", code, out)
		}
		if out, _ := c.Exec(t, r.Process, nil, "/apixo-relay", "version"); !strings.HasPrefix(out, "apixo-relay v1.2.3 ") {
			t.Errorf("its version: %s", out)
		}
		if out, code := c.Exec(t, r.Process, nil, "/apixo-relay", "tail", "--since", "1h", "--count", "1"); code != 0 || !strings.Contains(out, "task_of_the_image") {
			t.Errorf("tail: exit code %d, %s", code, out)
		}
	})
	// It has stopped in order by now: relaytest.Run sees to it.
	t.Run("what it stored is there in the next container", func(t *testing.T) {
		relaytest.Run(t, c.Command(t))
		if a := deliver(t); !a.Duplicate || a.Sequence != 1 {
			t.Errorf("%+v", a)
		}
	})
}
