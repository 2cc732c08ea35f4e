package kubernetes_test

import (
	"context"
	"io"
	"net/http"
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

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
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

// The archive beside a relay and a NATS cluster: the kubelet's probes pass, and the file of a
// result is in the cluster's object store.
func TestArchiveWithCluster(t *testing.T) {
	t.Parallel()
	engine.Need(t, "openssl")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	network := engine.NewNetwork(t)
	program := relaytest.Build(t, "./cmd/apixo-relay")
	ca := startBroker(t, network)
	m := build(t, path.Join(fill(t, ca), "archives", "deployment"))
	relay := newPod(t, m, "apixo-relay", relayPod(t, m), network)
	relay.awaitReady(t, ctx, relay.container(t, program).Start(t))

	p := newPod(t, m, archiveName, named(t, all[*appsv1.Deployment](m), archiveName).Spec.Template.Spec, network)
	c := p.spec.Containers[0]
	container := p.containerOf(t, c, program)
	// The relay's word on its health is a file like any other.
	container.Env = append(container.Env, "RELAY_ARCHIVE_HOSTS=http://apixo-relay:8721")
	running := container.Start(t)
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		p.await(t, ctx, probe, running)
	}
	if status, body := relay.deliverResult(t, token, "task_of_files", "success", "http://apixo-relay:8721/healthz"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	for {
		r, err := p.client.Get("http://" + archiveName + ":8723/metrics")
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err == nil && strings.Contains(string(metrics), "\napixo_relay_archived_files_total 1\n") {
			break
		}
		pause(t, ctx, "nothing is archived:\n"+string(metrics))
	}
	js := connect(t, ctx, network, "", "tls://"+broker+":4222", "operator", operatorPassword, ca)
	store, err := js.ObjectStore(ctx, "APIXO_FILES")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := store.GetString(ctx, "task_of_files/01-healthz"); err != nil || !strings.Contains(text, `"status":"ok"`) {
		t.Errorf("%q, %v", text, err)
	}
	if status, err := store.Status(ctx); err != nil || status.Replicas() != 3 {
		t.Errorf("it is not on three servers: %v", err)
	}
}
