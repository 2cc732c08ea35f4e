package kubernetes_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

const pageName = "apixo-relay-ui"

// named returns the resource of a type that has a name.
func named[T interface {
	metav1.Object
	comparable
}](t *testing.T, objects []T, name string) (found T) {
	t.Helper()
	for _, o := range objects {
		if o.GetName() == name {
			found = o
		}
	}
	if found == *new(T) {
		t.Fatalf("there is no %T %s", found, name)
	}
	return found
}

// The operator's page is confined as the relay is, beside all that it can be beside.
func TestPage(t *testing.T) {
	t.Parallel()
	dir := fill(t, []byte("an authority"))
	for _, beside := range []string{"deployment", "expecting", "example"} {
		t.Run(beside, func(t *testing.T) {
			t.Parallel()
			m := build(t, path.Join(dir, "pages", beside))
			d := named(t, all[*appsv1.Deployment](m), pageName)
			isConfined(t, d)
			m.areSettings(t, d)
			spec := d.Spec.Template.Spec
			c := spec.Containers[0]
			if c.Image != containers(relayPod(t, m))[0].Image {
				t.Errorf("it is of another version: %s", c.Image)
			}
			if *d.Spec.Replicas != 1 || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
				t.Error("sessions, and the replay under way, are known to one page only")
			}
			environ := []string{"RELAY_WEBHOOK_TOKENS=" + token, "RELAY_UI_TOKENS=" + uiToken}
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
			for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
				if probe == nil || probe.HTTPGet == nil || number(spec, probe.HTTPGet.Port) != 8722 {
					t.Error("a probe asks elsewhere")
				}
			}
			if slack := c.StartupProbe; slack.FailureThreshold*slack.PeriodSeconds < 60 || c.LivenessProbe.PeriodSeconds != 10 {
				t.Error("the probes are not as they were meant")
			}
			service := named(t, all[*corev1.Service](m), pageName)
			if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(d.Spec.Template.Labels)) || service.Spec.Ports[0].TargetPort.IntValue() != 8722 {
				t.Error("its Service leads elsewhere")
			}
			m.pageMayGo(t, beside)
		})
	}
}

// relayPod is the pod with the relay in it.
func relayPod(t *testing.T, m manifests) corev1.PodSpec {
	t.Helper()
	for _, d := range all[*appsv1.Deployment](m) {
		if d.Name != pageName && d.Name != archiveName {
			return d.Spec.Template.Spec
		}
	}
	t.Fatal("there is no relay")
	panic("not reached")
}

// pageMayGo expects network policies that let browsers in to the page, and the page out to the
// broker, to names, and to the relay where webhooks arrive; and nowhere else.
func (m manifests) pageMayGo(t *testing.T, beside string) {
	t.Helper()
	own := named(t, all[*networkingv1.NetworkPolicy](m), pageName)
	if len(own.Spec.PolicyTypes) != 2 || len(own.Spec.Ingress) != 1 || len(own.Spec.Ingress[0].From) != 1 || own.Spec.Ingress[0].Ports[0].Port.IntValue() != 8722 {
		t.Errorf("others come in than the ingress controller: %v", own.Spec.Ingress)
	}
	var out []string
	for _, rule := range own.Spec.Egress {
		for _, port := range rule.Ports {
			out = append(out, port.Port.String())
		}
		if isPublic(rule) {
			t.Error("it may go out to public addresses, and fetches nothing there")
		}
	}
	if strings.Join(out, " ") != "53 53 4222 8720" {
		t.Errorf("it may go out to %v", out)
	}
	page := labels.Set(named(t, all[*appsv1.Deployment](m), pageName).Spec.Template.Labels)
	for _, p := range all[*networkingv1.NetworkPolicy](m) {
		if p.Name != "apixo-relay" {
			continue
		}
		in := false
		for _, rule := range p.Spec.Ingress {
			for _, from := range rule.From {
				if from.NamespaceSelector != nil || from.PodSelector == nil {
					continue
				}
				s, err := metav1.LabelSelectorAsSelector(from.PodSelector)
				in = in || err == nil && s.Matches(page) && rule.Ports[0].Port.IntValue() == 8720 && len(rule.Ports) == 1
			}
		}
		if !in {
			t.Error("the relay does not let it in where webhooks arrive")
		}
		if expecting := beside == "expecting"; expecting != isPublic(p.Spec.Egress[len(p.Spec.Egress)-1]) {
			t.Error("the relay's way to APIXO is not as it was")
		}
	}
}

// The page beside a relay and a NATS cluster: the kubelet's probes pass, an operator signs in
// through a forwarded port, finds a task, and sends a conflict to the relay again.
func TestPageWithCluster(t *testing.T) {
	t.Parallel()
	engine.Need(t, "openssl")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	network := engine.NewNetwork(t)
	program := relaytest.Build(t, "./cmd/apixo-relay")
	m := build(t, path.Join(fill(t, startBroker(t, network)), "pages", "deployment"))
	relay := newPod(t, m, "apixo-relay", relayPod(t, m), network)
	// There are no Services here: what it is sent again goes to the pod.
	relay.awaitReady(t, ctx, relay.container(t, program).Start(t))
	if status, body := relay.deliver(t, token, "task_of_a_page"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := relay.deliverState(t, token, "task_of_a_page", "failed"); status != http.StatusOK || !strings.Contains(body, `"conflict":true`) {
		t.Fatalf("%d %s", status, body)
	}

	p := newPod(t, m, pageName, named(t, all[*appsv1.Deployment](m), pageName).Spec.Template.Spec, network)
	c := p.spec.Containers[0]
	container := p.containerOf(t, c, program)
	container.Env = append(container.Env, "RELAY_LISTEN_ADDR=apixo-relay:8720")
	running := container.Start(t)
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		p.await(t, ctx, probe, running)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := *p.client
	browser.Jar, browser.CheckRedirect = jar, func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	ask := func(host, path string, fields url.Values) (int, string) {
		method := http.MethodGet
		if fields != nil {
			method = http.MethodPost
		}
		q, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://%s:8722%s", p.name, path), strings.NewReader(fields.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		q.Host = host
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r, err := browser.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		said, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(said)
	}
	if status, _ := ask("10.88.0.9:8722", "/sign-in", nil); status != http.StatusMisdirectedRequest {
		t.Errorf("under the pod's address: %d", status)
	}
	const forwarded = "localhost:8722"
	if status, _ := ask(forwarded, "/tasks/task_of_a_page", nil); status != http.StatusSeeOther {
		t.Errorf("without a session: %d", status)
	}
	if status, body := ask(forwarded, "/sign-in", url.Values{"token": {uiToken}}); status != http.StatusSeeOther {
		t.Fatalf("signing in: %d %s", status, body)
	}
	if status, body := ask(forwarded, "/quarantine/send", url.Values{"seq": {"1"}}); status != http.StatusSeeOther {
		t.Errorf("sending it again: %d %s", status, body)
	}
	for _, view := range []struct{ path, text string }{{"/tasks/task_of_a_page", "apixo.task.success"}, {"/replay", "delivered   1"}, {"/checks", `data-status="ok"`}} {
		for {
			status, body := ask(forwarded, view.path, nil)
			if view.path == "/checks" && strings.Contains(body, `data-status="fail"`) {
				t.Errorf("a check fails:\n%s", body)
			}
			if status == http.StatusOK && strings.Contains(body, view.text) {
				break
			}
			pause(t, ctx, view.path+" lacks "+view.text+":\n"+body)
		}
	}
}
