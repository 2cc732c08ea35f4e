package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// version is the release that is made here.
const version = "1.2.3"

// commitTime is that of the commit that is released.
const commitTime = "2026-10-11T12:13:14Z"

// file returns the content of a file of the repository.
func file(t *testing.T, elem ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{relaytest.Root}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// tool returns the module with its version, as in tool@v1.2.3, with which the workflow makes
// releases.
func tool(t *testing.T, module string) string {
	t.Helper()
	found := regexp.MustCompile(regexp.QuoteMeta(module) + `@v[0-9.]+`).FindString(file(t, ".github", "workflows", "release.yaml"))
	if found == "" {
		t.Fatalf("the workflow uses no %s", module)
	}
	return found
}

// goreleaser runs it in a folder, and returns what it wrote. None of the settings that it has
// for secrets reach it.
func goreleaser(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", tool(t, "github.com/goreleaser/goreleaser/v2")}, args...)...)
	cmd.Dir = dir
	for _, v := range os.Environ() {
		if !strings.Contains(v, "TOKEN") && !strings.HasPrefix(v, "GOFLAGS=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, "CGO_ENABLED=0", "GOFLAGS=-trimpath"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("goreleaser %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

// checkout is a clone of what is here, committed, and tagged with [version]. Its files belong
// to somebody with this umask.
func checkout(t *testing.T, umask string) string {
	t.Helper()
	dir := t.TempDir()
	shell(t, dir, `umask "$UMASK" && (cd "$ROOT" && git ls-files -z --cached --others --exclude-standard |
		tar --create --null --files-from - --ignore-failed-read) | tar --extract --no-same-permissions --no-same-owner
		git init --quiet && git remote add origin https://github.com/apixo-relay/apixo-relay &&
		git add --all && git -c user.name=t -c user.email=t@t.example commit --quiet --message=release && git tag "v$VERSION"`,
		"UMASK="+umask, "ROOT="+relaytest.Root, "VERSION="+version,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_DATE="+commitTime, "GIT_COMMITTER_DATE="+commitTime)
	return dir
}

// shell runs a script that stops where something fails, and returns what it prints.
func shell(t *testing.T, dir, script string, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", script, err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// oneTarget is the configuration for the system of this machine alone, in a file of its own so
// that the clone stays as it was committed.
func oneTarget(t *testing.T) string {
	t.Helper()
	config := file(t, ".goreleaser.yaml")
	for all, one := range map[string]string{
		"goos: [linux, darwin, windows]": "goos: [linux]",
		"goarch: [amd64, arm64]":         "goarch: [" + runtime.GOARCH + "]",
	} {
		if strings.Count(config, all) != 1 {
			t.Fatalf(".goreleaser.yaml has no %q any more", all)
		}
		config = strings.Replace(config, all, one, 1)
	}
	path := filepath.Join(t.TempDir(), "one.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
