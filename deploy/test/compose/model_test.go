// Package compose_test runs deploy/compose without an engine: it reads compose.yaml with
// the library that docker compose reads it with, and starts each service as it says.
// The images come from a registry, so that the programs in them are stand-ins:
// nats-server and the relay as they are built here, Debian's Prometheus, and BusyBox for
// the rest. There is none for Grafana, whose files are looked at and no more.
package compose_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// setUp copies the folders that somebody needs who deploys with Compose, does what its
// README says, and returns the folder with compose.yaml.
func setUp(t *testing.T) string {
	t.Helper()
	deploy := t.TempDir()
	for _, name := range []string{"compose", "nats", "prometheus", "grafana"} {
		if out, err := exec.Command("cp", "-R", relaytest.Deploy(name), deploy).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	dir := filepath.Join(deploy, "compose")
	for _, made := range []string{".env", "secrets"} { // by whoever uses it in this clone
		if err := os.RemoveAll(filepath.Join(dir, made)); err != nil {
			t.Fatal(err)
		}
	}
	runSetup(t, dir)
	// Whoever has made the files is no user of a container.
	if out, err := exec.Command("chown", "-R", "1000:1000", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func runSetup(t *testing.T, dir string) (output string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "umask 077; ./setup.sh")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("setup.sh: %v\n%s", err, out)
	}
	return string(out)
}

func load(t *testing.T, dir string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")},
		cli.WithWorkingDirectory(dir), cli.WithEnvFiles(filepath.Join(dir, ".env")), cli.WithDotEnv, cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// Whoever runs setup.sh again loses nothing, and others on the machine see nothing.
func TestSetup(t *testing.T) {
	t.Parallel()
	engine.Need(t, "openssl")
	dir := setUp(t)
	before := contents(t, dir)
	if out := runSetup(t, dir); out != "" {
		t.Errorf("the second time it made something: %s", out)
	}
	for name, content := range contents(t, dir) {
		if before[name] != content {
			t.Errorf("the second time it changed %s", name)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "secrets")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("secrets: %v, %v", info.Mode(), err)
	}
	for name := range before {
		if out, err := exec.Command("git", "-C", relaytest.Root, "check-ignore", "deploy/compose/"+name).CombinedOutput(); (name == ".env" || strings.HasPrefix(name, "secrets/")) && err != nil {
			t.Errorf("%s can be committed by mistake: %v %s", name, err, out)
		}
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// No service can do more than it must.
func TestServicesAreConfined(t *testing.T) {
	t.Parallel()
	engine.Need(t, "openssl")
	dir := setUp(t)
	project := load(t, dir)
	for name, s := range project.Services {
		if !s.ReadOnly || s.Privileged || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s is not confined", name)
		}
		if s.MemLimit == 0 || s.PidsLimit == 0 {
			t.Errorf("%s has no limits", name)
		}
		if len(s.Profiles) == 0 && (s.HealthCheck == nil || s.Restart != types.RestartPolicyUnlessStopped) {
			t.Errorf("%s has no health check, or is not started again", name)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" || !slices.Contains([]string{"relay", "ui", "prometheus", "grafana"}, name) {
				t.Errorf("%s is published at %s:%s", name, p.HostIP, p.Published)
			}
		}
		for variable, value := range s.Environment {
			for secret, content := range contents(t, filepath.Join(dir, "secrets")) {
				if value != nil && strings.Contains(*value, strings.TrimSpace(content)) {
					t.Errorf("%s has the secret %s in %s, where 'docker inspect' shows it", name, secret, variable)
				}
			}
		}
		for _, v := range s.Volumes {
			if _, err := os.Stat(filepath.Join(v.Source, "ca-key.pem")); v.Type == types.VolumeTypeBind && err == nil {
				t.Errorf("%s could make certificates of its own", name)
			}
		}
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s: %s is another image tomorrow", name, s.Image)
		}
	}
	for name, n := range project.Networks {
		if name == "broker" && !n.Internal {
			t.Error("the brokers can reach more than each other")
		}
	}
}

// Grafana does not run here, so its files are looked for where it looks for them.
func TestGrafanaFindsItsFiles(t *testing.T) {
	t.Parallel()
	engine.Need(t, "openssl")
	grafana := load(t, setUp(t)).Services["grafana"]
	find := func(path string) []byte {
		best := types.ServiceVolumeConfig{}
		for _, v := range grafana.Volumes {
			if strings.HasPrefix(path, v.Target+"/") && len(v.Target) > len(best.Target) {
				best = v
			}
		}
		for _, s := range grafana.Secrets {
			if path == secretPath(s) {
				return []byte("a secret")
			}
		}
		b, err := os.ReadFile(filepath.Join(best.Source, strings.TrimPrefix(path, best.Target)))
		if err != nil {
			t.Errorf("%s is not in the container: %v", path, err)
		}
		return b
	}
	find(*grafana.Environment["GF_SECURITY_ADMIN_PASSWORD__FILE"])
	home := *grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if !json.Valid(find(home)) {
		t.Errorf("%s is not JSON", home)
	}
	if p := find("/etc/grafana/provisioning/dashboards/apixo-relay.yaml"); !strings.Contains(string(p), "path: "+filepath.Dir(home)+"\n") {
		t.Errorf("dashboards are provisioned from elsewhere than %s:\n%s", filepath.Dir(home), p)
	}
	if p := find("/etc/grafana/provisioning/datasources/prometheus.yaml"); !strings.Contains(string(p), "url: http://prometheus:9090\n") {
		t.Errorf("the data source is another one:\n%s", p)
	}
}

// secretPath is where a secret is in the container.
func secretPath(s types.ServiceSecretConfig) string {
	if s.Target == "" {
		return "/run/secrets/" + s.Source
	}
	if filepath.IsAbs(s.Target) {
		return s.Target
	}
	return "/run/secrets/" + s.Target
}
