package release

import (
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// goreleaser knows all that is in its configuration, and calls nothing of it deprecated.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	out := goreleaser(t, relaytest.Root, nil, "check", ".goreleaser.yaml")
	if strings.Contains(strings.ToLower(out), "deprecat") {
		t.Error(out)
	}
}

// tracked returns the files of the repository whose paths match a pattern of git's.
func tracked(t *testing.T, pattern string) []string {
	t.Helper()
	return strings.Fields(shell(t, relaytest.Root, "git ls-files --cached --others --exclude-standard "+pattern))
}

type workflow struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		Uses        string
		Permissions map[string]string
		Steps       []struct{ Uses, Run string }
	}
}

// A tag can be moved to other code; a commit cannot. Each job has the permissions that it
// names and no others.
func TestWorkflowsPinWhatTheyUse(t *testing.T) {
	t.Parallel()
	pinned := regexp.MustCompile(`^[\w-]+/[\w.-]+@[0-9a-f]{40}$`)
	told := regexp.MustCompile(`(?m)uses: ([\w-]+/[\w.-]+@[0-9a-f]{40})(?: # (v\d+\.\d+\.\d+))?$`)
	versions := map[string]string{}
	for _, name := range tracked(t, ".github/workflows") {
		text := file(t, name)
		var w workflow
		if err := yaml.Unmarshal([]byte(text), &w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !strings.Contains(text, "\npermissions: {}\n") {
			t.Errorf("%s takes permissions for all of its jobs", name)
		}
		for job, j := range w.Jobs {
			if len(j.Permissions) == 0 {
				t.Errorf("%s: %s has no permissions of its own", name, job)
			}
			for _, step := range j.Steps {
				if step.Uses != "" && !pinned.MatchString(step.Uses) {
					t.Errorf("%s: %s uses %s, which is no commit", name, job, step.Uses)
				}
			}
			if j.Uses != "" && !strings.HasPrefix(j.Uses, "./") {
				t.Errorf("%s: %s uses %s", name, job, j.Uses)
			}
		}
		for _, m := range told.FindAllStringSubmatch(text, -1) {
			action, _, _ := strings.Cut(m[1], "@")
			if before, known := versions[action]; m[2] == "" || known && before != m[1]+m[2] {
				t.Errorf("%s: %s says it is %q; elsewhere it is %s", name, m[1], m[2], before)
			}
			versions[action] = m[1] + m[2]
		}
	}
	if len(versions) == 0 {
		t.Error("no workflow uses any action")
	}
}

// Whatever has dependencies gets updates.
func TestDependencyUpdates(t *testing.T) {
	t.Parallel()
	var config struct {
		Updates []struct {
			Ecosystem   string `json:"package-ecosystem"`
			Directory   string
			Directories []string
		}
	}
	if err := yaml.Unmarshal([]byte(file(t, ".github", "dependabot.yml")), &config); err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, u := range config.Updates {
		got[u.Ecosystem] = append(got[u.Ecosystem], u.Directories...)
		if u.Directory != "" {
			got[u.Ecosystem] = append(got[u.Ecosystem], u.Directory)
		}
		slices.Sort(got[u.Ecosystem])
	}
	want := map[string][]string{"github-actions": {"/"}}
	for ecosystem, pattern := range map[string]string{"gomod": "'*go.mod'", "npm": "'*package.json'", "docker-compose": "'*compose.yaml'"} {
		for _, name := range tracked(t, pattern) {
			if strings.Contains(name, "/testdata/") {
				continue
			}
			want[ecosystem] = append(want[ecosystem], path.Join("/", filepath.ToSlash(filepath.Dir(name))))
		}
		slices.Sort(want[ecosystem])
	}
	for _, ecosystem := range slices.Sorted(maps.Keys(want)) {
		if !slices.Equal(got[ecosystem], want[ecosystem]) {
			t.Errorf("dependabot.yml updates %v of %s, and not %v", got[ecosystem], ecosystem, want[ecosystem])
		}
	}
}

// The image of a release has the labels of the one that the Dockerfile builds.
func TestImageLabels(t *testing.T) {
	t.Parallel()
	label := regexp.MustCompile(`(?m)^(?:LABEL| {5}) (org\.opencontainers\.image\.[a-z]+)="?(.*?)"?(?: \\)?$`)
	want := map[string]string{}
	for _, m := range label.FindAllStringSubmatch(file(t, "Dockerfile"), -1) {
		want[m[1]] = m[2]
	}
	var config struct {
		Dockers []struct{ Labels map[string]string } `json:"dockers_v2"`
	}
	if err := yaml.Unmarshal([]byte(file(t, ".goreleaser.yaml")), &config); err != nil || len(config.Dockers) != 1 {
		t.Fatalf("%d images, %v", len(config.Dockers), err)
	}
	got := config.Dockers[0].Labels
	for name, value := range want {
		if has, there := got[name]; !there || !strings.Contains(value, "${") && has != value {
			t.Errorf("%s is %q, and %q in the Dockerfile", name, has, value)
		}
	}
	if len(want) < 6 {
		t.Errorf("the Dockerfile has the labels %v", want)
	}
}
