package compose_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// standIn is what an image brings with it.
type standIn struct {
	root       string
	user       string
	env        []string
	entrypoint []string
	// volume is who owns the folder at which a volume is mounted, and so a new volume.
	volume int
}

// images make stand-ins, by the beginnings of their names.
type images map[string]func() standIn

func (i images) standIn(t *testing.T, name string) standIn {
	t.Helper()
	for prefix, make := range i {
		if strings.HasPrefix(name, prefix) {
			return make()
		}
	}
	t.Fatalf("there is no stand-in for %s", name)
	panic("not reached")
}

func standIns(t *testing.T) images {
	t.Helper()
	relay, broker := relaytest.Build(t, "./cmd/apixo-relay"), relaytest.Build(t, "github.com/nats-io/nats-server/v2")
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	return images{
		// As the Dockerfile makes it, which the test of the image sees to.
		"ghcr.io/apixo-relay/apixo-relay:": func() standIn {
			return standIn{
				root: rootOf(t, map[string]string{relay: "apixo-relay"}), user: "65532:65532", volume: 65532, entrypoint: []string{"/apixo-relay"},
				env: []string{path, "RELAY_LISTEN_ADDR=:8720", "RELAY_ADMIN_ADDR=:8721", "RELAY_DATA_DIR=/data"},
			}
		},
		"nats:": func() standIn {
			return standIn{root: rootOf(t, map[string]string{broker: "usr/local/bin/nats-server"}, "sh", "cat", "wget"), env: []string{path}, entrypoint: []string{"docker-entrypoint.sh"}}
		},
		"prom/prometheus:": func() standIn {
			root := rootOf(t, map[string]string{"/usr/bin/prometheus": "bin/prometheus"}, "wget")
			return standIn{root: root, user: "65534:65534", volume: 65534, env: []string{path}, entrypoint: []string{"/bin/prometheus"}}
		},
	}
}

// rootOf makes a root file system of programs, with the libraries that they load, and
// of BusyBox under some of its names.
func rootOf(t *testing.T, programs map[string]string, applets ...string) string {
	t.Helper()
	root := t.TempDir()
	put := func(file, path string) {
		to := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-L", file, to).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for file, path := range programs {
		put(file, path)
		out, _ := exec.Command("ldd", file).Output() // which fails for a static one
		for field := range strings.FieldsSeq(string(out)) {
			if filepath.IsAbs(field) {
				put(field, field)
			}
		}
	}
	for _, applet := range applets {
		busybox, err := exec.LookPath("busybox")
		if err != nil {
			t.Fatal(err)
		}
		put(busybox, "bin/"+applet)
	}
	return root
}

// up starts services and those that they depend on, each when those are as it wants them.
func up(t *testing.T, ctx context.Context, project *types.Project, images images, network *engine.Network, wanted ...string) map[string]service {
	t.Helper()
	for _, name := range project.ServiceNames() {
		network.Join(t, name)
	}
	started := make(map[string]service)
	var start func(name string)
	start = func(name string) {
		if _, ok := started[name]; ok {
			return
		}
		s := project.Services[name]
		for _, dependency := range s.GetDependencies() {
			start(dependency)
		}
		for dependency, d := range s.DependsOn {
			if d.Condition == types.ServiceConditionHealthy {
				started[dependency].awaitHealthy(t, ctx, project.Services[dependency].HealthCheck)
			}
		}
		c := container(t, project, s, images, network)
		started[name] = service{c, c.Start(t)}
	}
	for _, name := range wanted {
		start(name)
	}
	for _, name := range wanted {
		started[name].awaitHealthy(t, ctx, project.Services[name].HealthCheck)
	}
	return started
}

// service is one that runs.
type service struct {
	engine.Container
	running engine.Running
}

// exec runs a program in it, as 'docker compose exec' does.
func (s service) exec(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	return s.Exec(t, s.running.Process, nil, args...)
}

// container is a service's container, as docker compose would make it.
func container(t *testing.T, project *types.Project, s types.ServiceConfig, images images, network *engine.Network) engine.Container {
	t.Helper()
	image := images.standIn(t, s.Image)
	c := engine.Container{
		Name: s.Name, Network: network, Root: image.root, Env: image.env, Args: append(slices.Clone(image.entrypoint), s.Command...),
		Powerless: slices.Equal(s.CapDrop, []string{"ALL"}),
	}
	if s.Entrypoint != nil {
		c.Args = append(slices.Clone(s.Entrypoint), s.Command...)
	}
	if s.User != "" {
		image.user = s.User
	}
	if uid, gid, ok := strings.Cut(image.user, ":"); ok {
		var err, err2 error
		c.UID, err = strconv.Atoi(uid)
		c.GID, err2 = strconv.Atoi(gid)
		if err != nil || err2 != nil {
			t.Fatalf("%s: user %s", s.Name, image.user)
		}
	}
	for name, value := range s.Environment {
		c.Env = append(c.Env, name+"="+*value)
	}
	for _, v := range s.Volumes {
		source := v.Source
		if v.Type == types.VolumeTypeVolume {
			if _, ok := project.Volumes[v.Source]; !ok {
				t.Fatalf("%s: there is no volume %s", s.Name, v.Source)
			}
			source = t.TempDir()
			if err := os.Chown(source, image.volume, image.volume); err != nil {
				t.Fatal(err)
			}
		}
		c.Mounts = append(c.Mounts, engine.Mount{Source: source, Target: v.Target, Writable: !v.ReadOnly})
	}
	for _, s := range s.Secrets {
		c.Mounts = append(c.Mounts, engine.Mount{Source: project.Secrets[s.Source].File, Target: secretPath(s)})
	}
	for _, target := range s.Tmpfs {
		c.Mounts = append(c.Mounts, engine.Mount{Target: target, Writable: true})
	}
	return c
}

// awaitHealthy runs a service's health check until it passes, as engines do.
func (s service) awaitHealthy(t *testing.T, ctx context.Context, check *types.HealthCheckConfig) {
	t.Helper()
	if check == nil || check.Test[0] != "CMD" {
		t.Fatalf("%s has no health check of the form CMD", s.Name)
	}
	for {
		out, code := s.exec(t, check.Test[1:]...)
		if code == 0 {
			return
		}
		select {
		case <-s.running.Exited:
			t.Fatalf("%s has ended", s.Name)
		default:
		}
		pause(t, ctx, s.Name+" does not become healthy: "+out)
	}
}
