package image_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// A release makes its image from programs that are there already, with a Dockerfile of its
// own: what comes of it is the image of the other one, file by file and setting by setting.
func TestReleaseImage(t *testing.T) {
	t.Parallel()
	engine.Need(t, "buildah", "busybox")
	b := newBuilder(t)
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	context := releaseContext(t, runtime.GOARCH, other)
	var args []string
	for label, value := range map[string]string{
		"title": "apixo-relay", "description": "Receives APIXO's webhooks and stores each as a CloudEvent in NATS JetStream",
		"source": "https://github.com/apixo-relay/apixo-relay", "version": "v1.2.3", "revision": "0123abc", "created": "2023-11-14T22:13:20Z",
	} {
		args = append(args, "--label", "org.opencontainers.image."+label+"="+value)
	}
	build := func(arch, base string) string {
		return b.run(t, slices.Concat([]string{"build", "--quiet", "--pull-never", "--layers=false", "--format", "docker",
			"--platform", "linux/" + arch, "--build-arg", "BASE_IMAGE=" + base}, args, []string{context})...)
	}
	id := build(runtime.GOARCH, baseImage)
	checkConfig(t, b.inspect(t, id))
	root := b.rootFS(t, id)
	checkFiles(t, root, "/THIRD_PARTY_NOTICES")
	expectMachine(t, root, machines[runtime.GOARCH])
	// From scratch: this buildah finds no local image of another platform.
	elsewhere := build(other, "scratch")
	if i := b.inspect(t, elsewhere); i.Architecture != other || i.OS != "linux" {
		t.Errorf("it is for %s/%s", i.OS, i.Architecture)
	}
	expectMachine(t, b.rootFS(t, elsewhere), machines[other])
}

// releaseContext is the folder that goreleaser has an image built from, with a program for
// each architecture and what .release/docs.sh makes. All has the time of the commit there,
// which the release's builder gives to what it copies.
func releaseContext(t *testing.T, architectures ...string) string {
	t.Helper()
	context := t.TempDir()
	data := filepath.Join(context, ".release", "docs", "root", "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, arch := range architectures {
		path := filepath.Join(context, "linux", arch, "apixo-relay")
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.linkedVersion=v1.2.3", "-o", path, "./cmd/apixo-relay")
		cmd.Dir = relaytest.Root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if err := os.Chtimes(path, epoch, epoch); err != nil {
			t.Fatal(err)
		}
	}
	notices := exec.CommandContext(t.Context(), "bash", ".release/notices.sh")
	notices.Dir, notices.Stderr = relaytest.Root, t.Output()
	text, err := notices.Output()
	file := filepath.Join(context, ".release", "docs", "THIRD_PARTY_NOTICES")
	if err == nil {
		err = os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{data, file} {
		if err := os.Chtimes(path, epoch, epoch); err != nil {
			t.Fatal(err)
		}
	}
	source, err := os.ReadFile(filepath.Join(relaytest.Root, ".release", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(source), "COPY --chown=65532:65532 .release/docs/root /") {
		t.Error("the image's Dockerfile does not take what .release/docs.sh makes")
	}
	if err := os.WriteFile(filepath.Join(context, "Dockerfile"), source, 0o644); err != nil {
		t.Fatal(err)
	}
	return context
}
