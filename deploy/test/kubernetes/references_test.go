package kubernetes_test

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What resources say of each other is so: all that selects finds the pods, and all that
// is named is there.
func TestReferences(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		deployments := all[*appsv1.Deployment](m)
		if len(deployments) != 1 {
			t.Fatalf("%d Deployments", len(deployments))
		}
		d := deployments[0]
		pod := d.Spec.Template
		finds := func(what string, s *metav1.LabelSelector) {
			t.Helper()
			selector, err := metav1.LabelSelectorAsSelector(s)
			if err != nil || selector.Empty() || !selector.Matches(labels.Set(pod.Labels)) {
				t.Errorf("%s finds no pods: %v %v", what, s, err)
			}
		}
		port := func(what string, p intstr.IntOrString) {
			t.Helper()
			if p.Type == intstr.String {
				t.Errorf("%s: %s is not found in a sidecar before Kubernetes 1.32, or by some network plug-ins", what, p.StrVal)
			}
			if number(pod.Spec, p) == 0 {
				t.Errorf("%s: no container has the port %s", what, p.String())
			}
		}

		finds("the Deployment", d.Spec.Selector)
		for _, c := range pod.Spec.TopologySpreadConstraints {
			finds("the spread over "+c.TopologyKey, c.LabelSelector)
		}
		services := make(map[string]bool)
		for _, s := range all[*corev1.Service](m) {
			finds("the Service", &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
			for _, p := range s.Spec.Ports {
				port("the Service", p.TargetPort)
				services[s.Name+":"+p.Name] = true
				if number(pod.Spec, p.TargetPort) == 8721 {
					t.Error("the admin endpoint is in a Service")
				}
			}
		}
		for _, i := range all[*networkingv1.Ingress](m) {
			if len(i.Spec.TLS) != 1 || i.Spec.TLS[0].Hosts[0] != i.Spec.Rules[0].Host {
				t.Error("APIXO asks for HTTPS")
			}
			for _, p := range i.Spec.Rules[0].HTTP.Paths {
				if to := p.Backend.Service; !services[to.Name+":"+to.Port.Name] {
					t.Errorf("the Ingress leads to %s:%s, which is not there", to.Name, to.Port.Name)
				}
			}
		}
		for _, h := range all[*autoscalingv2.HorizontalPodAutoscaler](m) {
			if to := h.Spec.ScaleTargetRef; to.Kind != "Deployment" || to.Name != d.Name || to.APIVersion != "apps/v1" || d.Spec.Replicas != nil {
				t.Error("the autoscaler is that of another Deployment, or each 'apply' undoes what it does")
			}
		}
		for _, b := range all[*policyv1.PodDisruptionBudget](m) {
			finds("the disruption budget", b.Spec.Selector)
		}
		policies := all[*networkingv1.NetworkPolicy](m)
		if len(policies) != 1 {
			t.Fatalf("%d network policies", len(policies))
		}
		finds("the network policy", &policies[0].Spec.PodSelector)
		if types := policies[0].Spec.PolicyTypes; !slices.Contains(types, networkingv1.PolicyTypeIngress) || !slices.Contains(types, networkingv1.PolicyTypeEgress) {
			t.Errorf("the network policy says nothing of a direction that it does not name: %v", types)
		}
		for _, rule := range policies[0].Spec.Ingress {
			if len(rule.From) == 0 || len(rule.Ports) == 0 {
				t.Error("the network policy lets everybody in, or to everything")
			}
			for _, p := range rule.Ports {
				port("the network policy", *p.Port)
			}
		}
		m.mayGoOut(t, policies[0].Spec.Egress, pod.Spec)
		for _, p := range all[*monitoringv1.PodMonitor](m) {
			if p.Name == archiveName { // whose pods are not here
				continue
			}
			finds("the PodMonitor", &p.Spec.Selector)
			if port := *p.Spec.PodMetricsEndpoints[0].Port; number(pod.Spec, intstr.FromString(port)) == 0 {
				t.Errorf("the PodMonitor: no container has the port %s", port)
			}
		}
		m.secretHas(t, "apixo-relay-tokens", "tokens") // by this name: new tokens are no rollout
		for _, claim := range all[*corev1.PersistentVolumeClaim](m) {
			if !slices.Equal(claim.Spec.AccessModes, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}) {
				t.Errorf("several pods can write into %s, which has one owner", claim.Name)
			}
		}
		if pod.Labels["apixo-relay/metrics"] != "true" {
			t.Error("a PodMonitor finds no pods")
		}
		for _, a := range m.accounts {
			m.secretHas(t, a.Spec.User.Secret.Name, a.Spec.User.User, a.Spec.User.Password)
			m.secretHas(t, a.Spec.TLS.Secret.Name, a.Spec.TLS.CA)
		}
		known := func(what, account, namespace string) {
			if len(m.accounts) != 1 || account != m.accounts[0].Name || namespace != m.accounts[0].Namespace {
				t.Errorf("%s is of no account", what)
			}
		}
		for _, s := range m.streams {
			known("the stream "+s.Name, s.Spec.Account, s.Namespace)
		}
		for _, b := range m.buckets {
			known("the bucket "+b.Name, b.Spec.Account, b.Namespace)
		}
	})
}

// mayGoOut expects a network policy that lets a pod ask for names, and reach its broker.
func (m manifests) mayGoOut(t *testing.T, rules []networkingv1.NetworkPolicyEgressRule, spec corev1.PodSpec) {
	t.Helper()
	open := make(map[string]bool)
	public := false
	for _, rule := range rules {
		if isPublic(rule) {
			public = true
			continue
		}
		if len(rule.To) != 1 || rule.To[0].NamespaceSelector == nil {
			t.Error("the network policy lets out to everybody, or to nobody")
			continue
		}
		to := metav1.FormatLabelSelector(rule.To[0].NamespaceSelector)
		if pods := rule.To[0].PodSelector; pods != nil {
			to += " " + metav1.FormatLabelSelector(pods)
		}
		for _, p := range rule.Ports {
			protocol := corev1.ProtocolTCP
			if p.Protocol != nil {
				protocol = *p.Protocol
			}
			open[fmt.Sprint(to, " ", protocol, " ", p.Port)] = true
		}
	}
	// The labels of these pods are Kubernetes' own: 'includeSelectors' of kustomize adds to them.
	const dns = "kubernetes.io/metadata.name=kube-system k8s-app=kube-dns "
	need := []string{dns + "UDP 53", dns + "TCP 53"}
	c, _ := relayOf(t, spec)
	environment := m.environment(t, c)
	if asks := environment["RELAY_EXPECT"] == "true"; asks != public {
		t.Errorf("the network policy lets out to APIXO: %v, and the relay asks there: %v", public, asks)
	}
	if broker := environment["NATS_URL"]; broker != "" {
		u, err := url.Parse(broker)
		if err != nil {
			t.Fatal(err)
		}
		need = append(need, "kubernetes.io/metadata.name=nats TCP "+u.Port())
	}
	for _, n := range need {
		if !open[n] {
			t.Errorf("the network policy does not let out to %s, but to %v", n, open)
		}
	}
}

// isPublic reports whether a rule lets out to HTTPS at public addresses, and at no others.
func isPublic(rule networkingv1.NetworkPolicyEgressRule) bool {
	if len(rule.Ports) != 1 || rule.Ports[0].Port.IntValue() != 443 {
		return false
	}
	for _, to := range rule.To {
		if to.IPBlock == nil {
			return false
		}
		for _, private := range []string{"10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1", "::1", "fd00::1", "fe80::1"} {
			in := func(cidr string) bool {
				return netip.MustParsePrefix(cidr).Contains(netip.MustParseAddr(private))
			}
			if in(to.IPBlock.CIDR) && !slices.ContainsFunc(to.IPBlock.Except, in) {
				return false
			}
		}
	}
	return len(rule.To) > 0
}

// number is a port's number, 0 if no container has it.
func number(spec corev1.PodSpec, p intstr.IntOrString) int32 {
	for _, c := range containers(spec) {
		for _, have := range c.Ports {
			if p == intstr.FromString(have.Name) || p == intstr.FromInt32(have.ContainerPort) {
				return have.ContainerPort
			}
		}
	}
	return 0
}

func (m manifests) secretHas(t *testing.T, name string, keys ...string) {
	t.Helper()
	for _, s := range all[*corev1.Secret](m) {
		if s.Name != name {
			continue
		}
		for _, key := range keys {
			if len(s.Data[key]) == 0 {
				t.Errorf("the secret %s has no %q", name, key)
			}
		}
		return
	}
	t.Errorf("there is no secret %s", name)
}
