package image_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// builder runs buildah on a store of its own, which is gone with the test.
type builder struct{ root, runroot, tmp string }

// image is what an image says of itself, as engines read it.
type image struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		User         string
		Env          []string
		Entrypoint   []string
		Cmd          []string
		ExposedPorts map[string]struct{}
		Volumes      map[string]struct{}
		Labels       map[string]string
		Healthcheck  struct {
			Test        []string
			Interval    time.Duration
			Timeout     time.Duration
			StartPeriod time.Duration
		}
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

func newBuilder(t *testing.T) *builder {
	t.Helper()
	dir := t.TempDir()
	b := &builder{root: filepath.Join(dir, "root"), runroot: filepath.Join(dir, "runroot"), tmp: filepath.Join(dir, "tmp")}
	if err := os.Mkdir(b.tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	b.standIns(t)
	return b
}

// run runs buildah, and returns what it prints.
func (b *builder) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "buildah", append([]string{"--storage-driver", "vfs", "--root", b.root, "--runroot", b.runroot}, args...)...)
	cmd.Env = append(os.Environ(), "BUILDAH_ISOLATION=chroot", "TMPDIR="+b.tmp)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("buildah %s: %v\n%s%s", args[0], err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// The stand-ins for the base images, which come from a registry.
const (
	buildImage = "localhost/stand-in-golang"
	baseImage  = "localhost/stand-in-distroless"
)

// standIns makes them: a build image with a shell, into which this machine's Go is
// mounted, and a base with what distroless has of weight.
func (b *builder) standIns(t *testing.T) {
	t.Helper()
	context := t.TempDir()
	for name, content := range map[string]string{
		"passwd":         "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
		"certificates":   "# none\n",
		"Dockerfile":     "FROM scratch\nCOPY bin /bin\nCOPY tmp /tmp\nENV PATH=/usr/local/go/bin:/bin GOTOOLCHAIN=local GOPROXY=off GOMODCACHE=/modules GOCACHE=/cache\n",
		"BaseDockerfile": "FROM scratch\nCOPY passwd /etc/passwd\nCOPY certificates /etc/ssl/certs/ca-certificates.crt\n",
	} {
		if err := os.WriteFile(filepath.Join(context, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	shell := "mkdir " + context + "/bin " + context + "/tmp && cp " + busybox + " " + context + "/bin/busybox && cd " + context + "/bin && ln -s busybox sh && ln -s busybox mkdir && ln -s busybox touch"
	if out, err := exec.Command("sh", "-c", shell).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.run(t, "build", "--quiet", "--tag", buildImage, context)
	b.run(t, "build", "--quiet", "--tag", baseImage, "--file", filepath.Join(context, "BaseDockerfile"), context)
}

// build builds the Dockerfile of a folder, and returns the image's id.
func (b *builder) build(t *testing.T, context, platform, base string, args ...string) string {
	t.Helper()
	all := []string{
		"build", "--quiet", "--pull-never", "--layers=false",
		"--format", "docker", // the OCI's has no health check
		"--platform", platform,
		"--build-arg", "BUILDPLATFORM=linux/" + runtime.GOARCH, // newer ones know it by themselves
		"--build-arg", "BUILD_IMAGE=" + buildImage, "--build-arg", "BASE_IMAGE=" + base,
		"--volume", goEnv(t, "GOROOT") + ":/usr/local/go:ro",
		"--volume", goEnv(t, "GOMODCACHE") + ":/modules",
		"--volume", goEnv(t, "GOCACHE") + ":/cache",
	}
	for _, arg := range args {
		all = append(all, "--build-arg", arg)
	}
	return b.run(t, append(all, context)...)
}

func (b *builder) inspect(t *testing.T, id string) image {
	t.Helper()
	var inspected struct{ Docker image }
	if err := json.Unmarshal([]byte(b.run(t, "inspect", "--type", "image", id)), &inspected); err != nil {
		t.Fatal(err)
	}
	return inspected.Docker
}

// rootFS is a root file system made from the image, as a container gets it.
func (b *builder) rootFS(t *testing.T, id string) string {
	t.Helper()
	return b.run(t, "mount", b.run(t, "from", "--pull-never", id))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// download fetches the modules that the build needs, which it then finds offline.
func download(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download")
	cmd.Dir = relaytest.Root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go mod download: %v\n%s", err, out)
	}
}
