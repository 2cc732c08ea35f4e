package kubernetes_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
)

// environment is what the manifests give to a container, without what its image has.
func (m manifests) environment(t *testing.T, c corev1.Container) map[string]string {
	t.Helper()
	variables := make(map[string]string)
	configMap := func(name string) map[string]string {
		for _, cm := range all[*corev1.ConfigMap](m) {
			if cm.Name == name {
				return cm.Data
			}
		}
		t.Errorf("%s: there is no ConfigMap %s", c.Name, name)
		return nil
	}
	for _, from := range c.EnvFrom {
		for name, value := range configMap(from.ConfigMapRef.Name) {
			variables[name] = value
		}
	}
	for _, e := range c.Env {
		variables[e.Name] = e.Value
		if e.ValueFrom != nil {
			ref := e.ValueFrom.ConfigMapKeyRef
			value, ok := configMap(ref.Name)[ref.Key]
			if !ok {
				t.Errorf("%s: the ConfigMap %s has no %s", c.Name, ref.Name, ref.Key)
			}
			variables[e.Name] = value
		}
	}
	return variables
}

// pod is what the containers of a pod share.
type pod struct {
	name    string // in the network, and its host name
	spec    corev1.PodSpec
	of      manifests
	network *engine.Network
	client  *http.Client
	volumes map[string]string // their folders, by name
}

// newPod makes a pod and its volumes, as a kubelet does.
func newPod(t *testing.T, m manifests, name string, spec corev1.PodSpec, network *engine.Network) *pod {
	t.Helper()
	p := &pod{name: name, spec: spec, of: m, network: network, volumes: make(map[string]string)}
	transport := &http.Transport{DialContext: network.Dial, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	p.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for _, v := range spec.Volumes {
		dir := t.TempDir()
		p.volumes[v.Name] = dir
		if v.Secret != nil {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			p.project(t, v.Name, m.secret(t, v.Secret.SecretName))
			continue
		}
		if v.PersistentVolumeClaim == nil || !slices.ContainsFunc(all[*corev1.PersistentVolumeClaim](m), func(c *corev1.PersistentVolumeClaim) bool { return c.Name == v.PersistentVolumeClaim.ClaimName }) {
			t.Fatalf("there is no volume %s", v.Name)
		}
		// A new volume belongs to root, and fsGroup may write.
		if err := os.Chown(dir, 0, int(*spec.SecurityContext.FSGroup)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o775|os.ModeSetgid); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (m manifests) secret(t *testing.T, name string) map[string][]byte {
	t.Helper()
	for _, s := range all[*corev1.Secret](m) {
		if s.Name == name {
			return s.Data
		}
	}
	t.Fatalf("there is no secret %s", name)
	panic("not reached")
}

// project puts files into a volume, or replaces them, as a kubelet does: in a new folder,
// to which the link ..data then leads, and through it the links that have the names.
func (p *pod) project(t *testing.T, volume string, files map[string][]byte) {
	t.Helper()
	dir := p.volumes[volume]
	version, err := os.MkdirTemp(dir, "..")
	if err != nil {
		t.Fatal(err)
	}
	steps := []error{os.Chmod(version, 0o755)}
	for name, content := range files {
		steps = append(steps, os.WriteFile(filepath.Join(version, name), content, 0o644))
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			steps = append(steps, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
		}
	}
	steps = append(steps,
		os.Symlink(filepath.Base(version), filepath.Join(dir, "..data_tmp")),
		os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// container is the relay's, of its image as the Dockerfile makes it, which the test of the
// image sees to.
func (p *pod) container(t *testing.T, program string) engine.Container {
	t.Helper()
	c, _ := relayOf(t, p.spec)
	return p.containerOf(t, c, program)
}

// containerOf is one of the relay's image.
func (p *pod) containerOf(t *testing.T, c corev1.Container, program string) engine.Container {
	t.Helper()
	root := t.TempDir()
	if out, err := exec.Command("cp", program, filepath.Join(root, "apixo-relay")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := c.SecurityContext
	made := engine.Container{
		Name: p.name, Network: p.network, Root: root, Args: append([]string{"/apixo-relay"}, c.Args...),
		UID: int(*s.RunAsUser), GID: int(*s.RunAsGroup), Powerless: slices.Contains(s.Capabilities.Drop, "ALL") && !*s.AllowPrivilegeEscalation,
	}
	variables := map[string]string{"RELAY_LISTEN_ADDR": ":8720", "RELAY_ADMIN_ADDR": ":8721", "RELAY_DATA_DIR": "/data"}
	for name, value := range p.of.environment(t, c) {
		variables[name] = value
	}
	for name, value := range variables {
		made.Env = append(made.Env, name+"="+value)
	}
	for _, v := range c.VolumeMounts {
		made.Mounts = append(made.Mounts, engine.Mount{Source: p.volumes[v.Name], Target: v.MountPath, Writable: !v.ReadOnly})
	}
	return made
}

// await asks what a probe asks until the answer is good.
func (p *pod) await(t *testing.T, ctx context.Context, probe *corev1.Probe, running engine.Running) {
	t.Helper()
	url := fmt.Sprintf("http://%s:%d%s", p.name, number(p.spec, probe.HTTPGet.Port), probe.HTTPGet.Path)
	for {
		problem := ""
		r, err := p.client.Do(probeRequest(t, url, probe))
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
			problem = r.Status
		} else {
			problem = err.Error()
		}
		select {
		case <-running.Exited:
			t.Fatal("it has ended")
		default:
		}
		pause(t, ctx, url+": "+problem)
	}
}

// probeRequest is what a kubelet asks.
func probeRequest(t *testing.T, url string, probe *corev1.Probe) *http.Request {
	t.Helper()
	q, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range probe.HTTPGet.HTTPHeaders {
		if h.Name == "Host" {
			q.Host = h.Value
			continue
		}
		q.Header.Set(h.Name, h.Value)
	}
	return q
}

// pause waits a little between two looks at something that no event tells.
func pause(t *testing.T, ctx context.Context, problem string) {
	t.Helper()
	select {
	case <-ctx.Done():
		t.Fatal(problem)
	case <-time.After(50 * time.Millisecond):
	}
}
