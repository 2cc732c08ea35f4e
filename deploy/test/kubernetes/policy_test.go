package kubernetes_test

import (
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	psaapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// each runs a test for each kustomization, and for what the chart makes of several values.
func each(t *testing.T, test func(*testing.T, manifests)) {
	t.Parallel()
	dir := fill(t, []byte("an authority"))
	names := kustomizations(t, dir)
	if len(names) != 6 {
		t.Errorf("%d kustomizations were found: %v", len(names), names)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, build(t, path.Join(dir, name)))
		})
	}
	for name, values := range charts() {
		t.Run("chart "+name, func(t *testing.T) {
			t.Parallel()
			test(t, chart(t, values))
		})
	}
}

// containers are all that a pod has.
func containers(spec corev1.PodSpec) []corev1.Container {
	return slices.Concat(spec.InitContainers, spec.Containers)
}

// relayOf is the relay's container, and whether it is a sidecar.
func relayOf(t *testing.T, spec corev1.PodSpec) (c corev1.Container, sidecar bool) {
	t.Helper()
	for _, c := range spec.Containers {
		if c.Name == "apixo-relay" {
			return c, false
		}
	}
	for _, c := range spec.InitContainers {
		if c.Name == "apixo-relay" {
			return c, true
		}
	}
	t.Fatal("there is no relay in it")
	panic("not reached")
}

// Nobody who gets into a pod can do more than it needs.
func TestPodsAreConfined(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, d := range all[*appsv1.Deployment](m) {
			isConfined(t, d)
		}
	})
}

// isConfined holds a Deployment to the Pod Security Standard and to what none of its containers
// needs.
func isConfined(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template
	level := psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}
	if r := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !r.Allowed {
		t.Errorf("%s: the standard 'restricted' forbids it: %s", d.Name, r.ForbiddenDetail())
	}
	if mount := pod.Spec.AutomountServiceAccountToken; mount == nil || *mount {
		t.Errorf("%s has a token for the API server", d.Name)
	}
	for _, c := range containers(pod.Spec) {
		if s := c.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.RunAsUser == nil || *s.RunAsUser != 65532 || s.RunAsGroup == nil || *s.RunAsGroup != 65532 {
			t.Errorf("%s can write into its image, or runs as another user than the image's", c.Name)
		}
		if _, tag, _ := strings.Cut(c.Image, ":"); !strings.HasPrefix(tag, "v") {
			t.Errorf("%s: %s is another image tomorrow", c.Name, c.Image)
		}
	}
}

// Each variable means something to the relay, and none is a secret.
func TestSettings(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, d := range all[*appsv1.Deployment](m) {
			m.areSettings(t, d)
		}
	})
}

// areSettings looks at the variables of a Deployment's containers, and at their files.
func (m manifests) areSettings(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	known := map[string]bool{"GOMEMLIMIT": false} // and whether it is a secret
	for _, v := range config.Variables() {
		known[v.Name] = v.Secret
		if v.Secret {
			known[v.Name+"_FILE"] = false
		}
	}
	for _, c := range containers(d.Spec.Template.Spec) {
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				t.Errorf("%s takes %s from a secret, where 'exec env' shows it", c.Name, e.Name)
			}
		}
		for name, value := range m.environment(t, c) {
			secret, ok := known[name]
			if !ok {
				t.Errorf("%s: %s is no setting", c.Name, name)
			}
			if secret {
				t.Errorf("%s: %s is a secret, and there for all to see", c.Name, name)
			}
			if strings.HasPrefix(value, "/etc/") && !m.mounted(d.Spec.Template.Spec, c, value) {
				t.Errorf("%s: %s=%s is nowhere", c.Name, name, value)
			}
		}
		for _, v := range c.VolumeMounts {
			if v.SubPath != "" {
				t.Errorf("%s: %s is never updated", c.Name, v.MountPath)
			}
		}
	}
}

// mounted reports whether a file is in the container, as a key of a secret.
func (m manifests) mounted(spec corev1.PodSpec, c corev1.Container, file string) bool {
	for _, v := range c.VolumeMounts {
		for _, volume := range spec.Volumes {
			if volume.Name != v.Name || volume.Secret == nil || path.Dir(file) != v.MountPath {
				continue
			}
			for _, s := range all[*corev1.Secret](m) {
				if _, ok := s.Data[path.Base(file)]; ok && s.Name == volume.Secret.SecretName {
					return true
				}
			}
		}
	}
	return false
}

// The relay has the time and the memory that its settings ask for.
func TestRelayHasWhatItNeeds(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, d := range all[*appsv1.Deployment](m) {
			spec := d.Spec.Template.Spec
			c, sidecar := relayOf(t, spec)
			environ := []string{"RELAY_LISTEN_ADDR=127.0.0.1:0", "APIXO_API_KEY=in-a-file"} // without tokens
			for name, value := range m.environment(t, c) {
				if !strings.HasSuffix(name, "_FILE") && name != "RELAY_LISTEN_ADDR" && name != "NATS_CA" && name != "NATS_USER" {
					environ = append(environ, name+"="+value)
				}
			}
			if m.environment(t, c)["RELAY_EMBEDDED_ADDR"] != "" { // which other pods reach
				environ = append(environ, "NATS_USER=relay", "NATS_PASSWORD="+relayPassword)
			}
			cfg, err := config.Load(environ)
			if err != nil {
				t.Fatal(err)
			}

			// The application's containers get half a minute before it, and both a little more.
			need := cfg.Webhooks.ShutdownTimeout + time.Duration(c.Lifecycle.PreStop.Sleep.Seconds)*time.Second
			if sidecar {
				need = cfg.Webhooks.ShutdownTimeout + 30*time.Second
			}
			need += 5 * time.Second
			if grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second; grace < need {
				t.Errorf("it is killed after %v, and may need %v", grace, need)
			}
			bound := cfg.MemoryBound() + 64<<20
			if cfg.UsesEmbedded() {
				bound += 512 << 20 // ids in the duplicate window
			}
			if memory := c.Resources.Limits.Memory().Value(); memory < bound {
				t.Errorf("its limit of %d bytes is less than the %d that it can need", memory, bound)
			}
			if !c.Resources.Limits.Cpu().IsZero() || c.Resources.Requests.Cpu().IsZero() {
				t.Error("it is to ask for CPU, and not to be held back")
			}
			if spec.EnableServiceLinks == nil || *spec.EnableServiceLinks {
				t.Error("the names of services become settings")
			}
			if sidecar != (c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways) {
				t.Error("an init container without restartPolicy: Always has to end before the application starts")
			}
			for name, probe := range map[string]*corev1.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
				if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != name || probe.HTTPGet.Port.String() != "relay-admin" {
					t.Errorf("no probe asks %s", name)
				}
			}
			if p := c.StartupProbe; p == nil || p.HTTPGet.Path != "/healthz" || time.Duration(p.FailureThreshold*p.PeriodSeconds)*time.Second < time.Minute {
				t.Error("it has no time to read its store")
			}
			if store := slices.ContainsFunc(c.VolumeMounts, func(v corev1.VolumeMount) bool { return v.MountPath == cfg.Embedded.DataDir }); store != (cfg.UsesEmbedded() || cfg.Outbox.Enabled) {
				t.Error("a store needs a volume, and nothing else does")
			}
			if u := d.Spec.Strategy.RollingUpdate; !sidecar && d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType && (u == nil || u.MaxUnavailable.IntValue() != 0) {
				t.Error("a relay ends before its successor is ready")
			}
			if cfg.UsesEmbedded() && (*d.Spec.Replicas != 1 || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType || *spec.SecurityContext.FSGroup != *c.SecurityContext.RunAsGroup) {
				t.Error("a store has one owner, who can write into it")
			}
		}
	})
}

// The relay is the same container in a Deployment and as a sidecar.
func TestSameContainer(t *testing.T) {
	t.Parallel()
	dir := fill(t, []byte("an authority"))
	var relays []corev1.Container
	for _, name := range []string{"deployment", "example"} {
		m := build(t, path.Join(dir, name))
		c, _ := relayOf(t, all[*appsv1.Deployment](m)[0].Spec.Template.Spec)
		c.RestartPolicy = nil
		relays = append(relays, c)
	}
	if !reflect.DeepEqual(relays[0], relays[1]) {
		t.Errorf("it has become two:\n%+v\n%+v", relays[0], relays[1])
	}
}
