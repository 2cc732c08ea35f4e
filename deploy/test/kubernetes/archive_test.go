package kubernetes_test

import (
	"path"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

const archiveName = "apixo-relay-archive"

// The archive is confined as the relay is, beside all that it can be beside.
func TestArchive(t *testing.T) {
	t.Parallel()
	dir := fill(t, []byte("an authority"))
	for _, beside := range []string{"deployment", "expecting", "example"} {
		t.Run(beside, func(t *testing.T) {
			t.Parallel()
			m := build(t, path.Join(dir, "archives", beside))
			d := named(t, all[*appsv1.Deployment](m), archiveName)
			isConfined(t, d)
			m.areSettings(t, d)
			spec := d.Spec.Template.Spec
			c := spec.Containers[0]
			if c.Image != containers(relayPod(t, m))[0].Image {
				t.Errorf("it is of another version: %s", c.Image)
			}
			var environ []string
			for name, value := range m.environment(t, c) {
				if !strings.HasSuffix(name, "_FILE") && name != "NATS_CA" && name != "NATS_USER" {
					environ = append(environ, name+"="+value)
				}
			}
			cfg, err := config.Load(environ)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Expect.Enabled || m.environment(t, c)["APIXO_API_KEY_FILE"] != "" {
				t.Error("it asks APIXO, as the relay does")
			}
			if grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second; grace < cfg.Webhooks.ShutdownTimeout+5*time.Second {
				t.Errorf("it is killed after %v", grace)
			}
			if memory := c.Resources.Limits.Memory().Value(); memory != 256<<20 || m.environment(t, c)["GOMEMLIMIT"] != "200MiB" {
				t.Errorf("the collector is not told of its limit of %d bytes", memory)
			}
			for probe, path := range map[*corev1.Probe]string{c.StartupProbe: "/healthz", c.LivenessProbe: "/healthz", c.ReadinessProbe: "/readyz"} {
				if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || number(spec, probe.HTTPGet.Port) != 8723 {
					t.Errorf("no probe asks %s where the archive answers", path)
				}
			}
			m.archiveMayGo(t, d)
			for _, p := range all[*monitoringv1.PodMonitor](m) {
				s, err := metav1.LabelSelectorAsSelector(&p.Spec.Selector)
				if err != nil || s.Matches(labels.Set(d.Spec.Template.Labels)) != (p.Name == archiveName) {
					t.Errorf("the PodMonitor %s is not as it was meant: %v", p.Name, err)
				}
			}
		})
	}
}

// archiveMayGo expects a network policy that lets Prometheus in, and the archive out to names,
// to the broker, and to public addresses.
func (m manifests) archiveMayGo(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	own := named(t, all[*networkingv1.NetworkPolicy](m), archiveName)
	s, err := metav1.LabelSelectorAsSelector(&own.Spec.PodSelector)
	if err != nil || s.Empty() || !s.Matches(labels.Set(d.Spec.Template.Labels)) {
		t.Errorf("the network policy is about other pods: %v", err)
	}
	if len(own.Spec.PolicyTypes) != 2 || len(own.Spec.Ingress) != 1 || len(own.Spec.Ingress[0].From) != 1 || own.Spec.Ingress[0].Ports[0].Port.IntValue() != 8723 {
		t.Errorf("others come in than Prometheus: %v", own.Spec.Ingress)
	}
	var out []string
	public := 0
	for _, rule := range own.Spec.Egress {
		for _, port := range rule.Ports {
			out = append(out, port.Port.String())
		}
		if isPublic(rule) {
			public++
		}
	}
	if strings.Join(out, " ") != "53 53 4222 443" || public != 1 {
		t.Errorf("it may go out to %v", out)
	}
}
