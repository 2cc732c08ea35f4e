package kubernetes_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// What the chart has from elsewhere is the same as there: Helm reads no file outside of it.
func TestChartCopies(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"apixo-relay.rules.yaml": relaytest.Deploy("prometheus", "apixo-relay.rules.yaml"),
		"apixo-relay.json":       relaytest.Deploy("grafana", "dashboards", "apixo-relay.json"),
	} {
		want, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		path := relaytest.Deploy("helm", "apixo-relay", "files", name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != string(want) {
			t.Errorf("%s is not that of %s: run 'go test ./kubernetes -run TestChart -update' in deploy/test", path, source)
		}
	}
}

// 'helm lint --strict' finds nothing, whatever the values.
func TestChartLint(t *testing.T) {
	t.Parallel()
	values := charts()
	values["defaults"] = ""
	for name, v := range values {
		for _, m := range lint.AllWithKubeVersion(relaytest.Deploy("helm", "apixo-relay"), parse(t, v), "apixo", nil).Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// The packed chart has what it needs, and nothing else; and it is of the version that the
// kustomizations are of.
func TestChartPackage(t *testing.T) {
	t.Parallel()
	file, err := chartutil.Save(load(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, err := loader.LoadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(file) != "apixo-relay-"+c.Metadata.Version+".tgz" || c.Metadata.AppVersion != "v"+c.Metadata.Version {
		t.Errorf("%s is of the version %s", file, c.Metadata.AppVersion)
	}
	version, err := os.ReadFile(relaytest.Deploy("kubernetes", "common", "version", "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(version), "newTag: "+c.Metadata.AppVersion+"\n") {
		t.Errorf("the kustomizations are of another version than %s", c.Metadata.AppVersion)
	}
	var names []string
	for _, f := range c.Raw {
		if !strings.HasPrefix(f.Name, "templates/") {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	if want := []string{"Chart.yaml", "README.md", "files/apixo-relay.json", "files/apixo-relay.rules.yaml", "values.schema.json", "values.yaml"}; !slices.Equal(names, want) {
		t.Errorf("%v are in it, and not %v", names, want)
	}
}

// Whoever has installed it is told what to do next, with names that are those of the objects.
func TestChartNotes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values string
		want   []string
		not    string
	}{
		{"", []string{
			"https://hooks.example.com/webhook/apixo/TOKEN", "create secret generic hooks-apixo-relay-tokens --from-file=tokens\n",
			"create secret generic hooks-apixo-relay-nats --from-file=password --from-file=ca.crt", "exec deployment/hooks-apixo-relay -- /apixo-relay check",
		}, "WARNING"},
		{trial, []string{"WARNING: secrets that are in the values"}, "create secret"},
		{"statusAPI: {verify: flag}\nsettings: {RELAY_WEBHOOK_PATH: /in}", []string{"hooks.example.com/in/TOKEN", "--from-file=tokens --from-file=apixo-api-key"}, "WARNING"},
		{embedded, []string{"nats://hooks-apixo-relay-nats.apixo:4222", "rollout status statefulset/hooks-apixo-relay", `apixo-relay/consumer: "true"`, "without TLS"}, "ca.crt"},
		{"broker: {embedded: true, tlsSecret: tls}", []string{"tls://hooks-apixo-relay-nats.apixo:4222"}, "WARNING"},
		{"ui: {enabled: true}", []string{"port-forward deployment/hooks-apixo-relay-ui 8722", "hooks-apixo-relay-ui-tokens --from-file"}, "WARNING"},
		{"ui: {enabled: true, ingress: {enabled: true, host: page.example.com}}\nnack: {enabled: true}\narchive: {enabled: true}", []string{"https://page.example.com", "apixo-streams --from-literal=user=operator", "hooks-apixo-relay-archive --from-file"}, "port-forward"},
		{"ingress: {enabled: false}", []string{"port 80 of the Service hooks-apixo-relay"}, "https://"},
	} {
		files, err := render(t, chartutil.ReleaseOptions{Name: "hooks", Namespace: "apixo", IsInstall: true}, c.values)
		if err != nil {
			t.Fatal(err)
		}
		notes := files["apixo-relay/templates/NOTES.txt"]
		for _, want := range c.want {
			if !strings.Contains(notes, want) {
				t.Errorf("%q: it lacks %q:\n%s", c.values, want, notes)
			}
		}
		if strings.Contains(notes, c.not) {
			t.Errorf("%q: it has %q:\n%s", c.values, c.not, notes)
		}
		if strings.Contains(notes, "\n\n\n") {
			t.Errorf("%q: it has holes:\n%s", c.values, notes)
		}
	}
}
