package kubernetes_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// What is read once, at the start, is a rollout of the pods that read it, and nothing else is.
func TestChartRollouts(t *testing.T) {
	t.Parallel()
	const beside = "ui: {enabled: true, tokens: [" + uiToken + "], password: p}\narchive: {enabled: true, password: p}\n"
	pods := func(values string) map[string]corev1.PodTemplateSpec {
		found := make(map[string]corev1.PodTemplateSpec)
		for _, d := range all[*appsv1.Deployment](chart(t, values)) {
			found[d.Name] = d.Spec.Template
		}
		return found
	}
	before := pods(trial + beside)
	for _, c := range []struct {
		name, values string
		changed      []string
	}{
		{"nothing", trial + beside, nil},
		{"tokens", strings.Replace(trial, token, "another-token-of-this-test", 1) + beside, nil},
		{"tokens of the page", trial + strings.Replace(beside, uiToken, "another-token-of-the-page", 1), nil},
		{"a setting", trial + beside + "settings: {RELAY_LOG_LEVEL: debug}", []string{"apixo-relay", "apixo-relay-archive", "apixo-relay-ui"}},
		{"the password", strings.Replace(trial, relayPassword, "another", 1) + beside, []string{"apixo-relay"}},
		{"the authority", strings.Replace(trial, authority, authority+"s", 1) + beside, []string{"apixo-relay", "apixo-relay-archive", "apixo-relay-ui"}},
		{"the password of the page", trial + strings.Replace(beside, "password: p}", "password: q}", 1), []string{"apixo-relay-ui"}},
		{"a setting of the archive", trial + beside[:len(beside)-2] + ", settings: {RELAY_ARCHIVE_HOSTS: '*'}}\n", []string{"apixo-relay-archive"}},
	} {
		var changed []string
		for name, pod := range pods(c.values) {
			if !reflect.DeepEqual(pod, before[name]) {
				changed = append(changed, name)
			}
		}
		slices.Sort(changed)
		if !slices.Equal(changed, c.changed) {
			t.Errorf("%s: a rollout of %v, and not of %v", c.name, changed, c.changed)
		}
	}
}

// NACK makes the streams that the relay's settings ask for, whatever they are.
func TestChartStreams(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{
		"",
		"settings: {RELAY_STREAM: EVENTS, RELAY_QUARANTINE_STREAM: SICK, RELAY_SUBJECT_PREFIX: a.b, RELAY_STREAM_REPLICAS: 1, RELAY_STREAM_MAX_AGE: 24h, RELAY_STREAM_MAX_BYTES: 10737418240, RELAY_DEDUPE_WINDOW: 30m, RELAY_EXPECT_BUCKET: AWAITED}",
	} {
		m := chart(t, trial+"nack: {enabled: true}\n"+settings)
		wanted, bucket := m.desired(t)
		for _, s := range m.streams {
			have := s.config(t)
			if diff := cmp.Diff(wanted[have.Name], have); diff != "" {
				t.Errorf("NACK makes (+), and the relay (-):\n%s", diff)
			}
			delete(wanted, have.Name)
		}
		if len(wanted) > 0 {
			t.Errorf("nobody makes %v", wanted)
		}
		if diff := cmp.Diff(bucket, m.buckets[0].config()); diff != "" {
			t.Errorf("NACK makes (+), and the relay (-):\n%s", diff)
		}
	}
}

// Values without which there is no test above do what they say.
func TestChartValues(t *testing.T) {
	t.Parallel()
	m := chart(t, trial+"autoscaling: {enabled: false}\nreplicas: 5\nimage: {digest: 'sha256:"+strings.Repeat("0", 64)+"', pullPolicy: Always, pullSecrets: [registry]}\n"+
		"webhooks: {tlsSecret: tls}\nservice: {type: LoadBalancer, port: 443, externalTrafficPolicy: Local}\ningress: {enabled: false}\n"+
		"nodeSelector: {disk: fast}\ntolerations: [{operator: Exists}]\nlabels: {team: media}\nextraVolumes: [{name: authority, secret: {secretName: authority}}]\nextraVolumeMounts: [{name: authority, mountPath: /etc/authority, readOnly: true}]\n"+
		"networkPolicy: {extraIngress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 8720}]}]}\npodAnnotations: {note: this}\n"+
		"ui: {enabled: true, readOnly: true, ingress: {enabled: true, host: page.example.com}}\n")
	d, page := named(t, all[*appsv1.Deployment](m), "apixo-relay"), named(t, all[*appsv1.Deployment](m), pageName)
	shown := page.Spec.Template.Spec.Containers[0]
	spec := d.Spec.Template.Spec
	c := spec.Containers[0]
	s := named(t, all[*corev1.Service](m), "apixo-relay")
	policy := named(t, all[*networkingv1.NetworkPolicy](m), "apixo-relay")
	ingresses := all[*networkingv1.Ingress](m)
	for what, ok := range map[string]bool{
		"replicas":    *d.Spec.Replicas == 5 && len(all[*autoscalingv2.HorizontalPodAutoscaler](m)) == 0,
		"image":       c.Image == "ghcr.io/apixo-relay/apixo-relay@sha256:"+strings.Repeat("0", 64) && c.ImagePullPolicy == corev1.PullAlways && spec.ImagePullSecrets[0].Name == "registry",
		"tls":         m.environment(t, c)["RELAY_TLS_KEY_FILE"] == mountPath(c, "apixo-relay-tls")+"tls.key",
		"service":     s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.Ports[0].Port == 443 && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		"ingress":     len(ingresses) == 1 && ingresses[0].Name == pageName && ingresses[0].Spec.Rules[0].Host == "page.example.com",
		"page":        slices.Equal(shown.Args, []string{"ui", "--read-only"}) && m.environment(t, shown)["RELAY_UI_HOSTS"] == "page.example.com",
		"page by TLS": m.environment(t, shown)["RELAY_TLS_CERT_FILE"] == mountPath(shown, "apixo-relay-tls")+"tls.crt" && m.environment(t, shown)["RELAY_LISTEN_ADDR"] == "apixo-relay:443",
		"scheduling":  spec.NodeSelector["disk"] == "fast" && spec.Tolerations[0].Operator == corev1.TolerationOpExists,
		"labels":      d.Labels["team"] == "media" && d.Spec.Template.Labels["team"] == "" && d.Spec.Template.Annotations["note"] == "this",
		"volumes":     mountPath(c, "authority") == "/etc/authority/" && spec.Volumes[len(spec.Volumes)-1].Secret.SecretName == "authority",
		"extra rules": len(policy.Spec.Ingress) == 4,
	} {
		if !ok {
			t.Errorf("%s: not as the values say", what)
		}
	}
}
