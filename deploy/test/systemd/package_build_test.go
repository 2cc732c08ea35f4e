package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"text/template"

	"sigs.k8s.io/yaml"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// nfpm makes packages. The version is the one that goreleaser has in it, so that packages
// come out here as they do there.
const nfpm = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"

// packager makes packages of this commit as .goreleaser.yaml says, for this machine's
// architecture. goreleaser itself would build more, and takes longer to build.
type packager struct {
	settings struct {
		Builds []struct {
			Main    string   `json:"main"`
			Flags   []string `json:"flags"`
			LDFlags []string `json:"ldflags"`
		} `json:"builds"`
		NFPMs []map[string]any `json:"nfpms"`
	}
	docs string
}

func newPackager(t *testing.T) *packager {
	t.Helper()
	p := &packager{docs: t.TempDir()}
	text, err := os.ReadFile(filepath.Join(relaytest.Root, ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &p.settings); err != nil {
		t.Fatal(err)
	}
	if len(p.settings.Builds) != 1 || len(p.settings.NFPMs) != 1 {
		t.Fatal("this test knows one build and one package")
	}
	inRoot(t, "bash", ".release/docs.sh", p.docs)
	return p
}

// inRoot runs a command in the folder of the repository.
func inRoot(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = relaytest.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

// build builds the program as the release of that version has it.
func (p *packager) build(t *testing.T, version string) (program string) {
	t.Helper()
	b := p.settings.Builds[0]
	program = filepath.Join(t.TempDir(), "apixo-relay")
	args := append([]string{"build"}, b.Flags...)
	inRoot(t, "go", append(args, "-ldflags", render(t, strings.Join(b.LDFlags, " "), version), "-o", program, b.Main)...)
	return program
}

// pack makes the packages of a version, with other files in the place of some of the sources
// in the repository, and returns the folder that they are in.
func (p *packager) pack(t *testing.T, version, program string, others map[string]string, formats ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	settings := expand(t, p.settings.NFPMs[0], version).(map[string]any)
	// What goreleaser alone knows, or calls by another name. nfpm refuses what it does not know.
	delete(settings, "formats")
	delete(settings, "file_name_template")
	settings["name"], settings["version"], settings["arch"] = "apixo-relay", version, runtime.GOARCH
	for _, o := range settings["overrides"].(map[string]any) {
		o := o.(map[string]any)
		o["depends"] = o["dependencies"]
		delete(o, "dependencies")
	}
	contents := settings["contents"].([]any)
	for _, c := range contents {
		c := c.(map[string]any)
		src, _ := c["src"].(string)
		if other := others[src]; other != "" {
			c["src"] = other
		} else if rest, ok := strings.CutPrefix(src, ".release/docs/"); ok {
			c["src"] = filepath.Join(p.docs, rest)
		}
	}
	settings["contents"] = append(contents, map[string]any{"src": program, "dst": "/usr/bin/apixo-relay", "file_info": map[string]any{"mode": 0o755}})
	text, err := yaml.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "nfpm.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range formats {
		inRoot(t, "go", "run", nfpm, "package", "--config", file, "--packager", format, "--target", dir+"/")
	}
	return dir
}

// expand renders all templates in a part of .goreleaser.yaml, in a copy of it.
func expand(t *testing.T, part any, version string) any {
	switch part := part.(type) {
	case map[string]any:
		m := make(map[string]any)
		for key, v := range part {
			if key != "file_name_template" { // takes what the package is called
				m[key] = expand(t, v, version)
			}
		}
		return m
	case []any:
		var s []any
		for _, v := range part {
			s = append(s, expand(t, v, version))
		}
		return s
	case string:
		return render(t, part, version)
	}
	return part
}

// render renders a template of goreleaser's.
func render(t *testing.T, text, version string) string {
	t.Helper()
	parsed, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := parsed.Execute(&b, map[string]string{
		"Version": version, "FullCommit": strings.Repeat("1", 40), "CommitDate": "2026-01-02T03:04:05Z",
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
