package kubernetes_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

const authority = "-----BEGIN CERTIFICATE----- of this test"

// trial are the secrets that the chart makes, besides a cluster's address where these tests
// run.
const trial = `
webhooks: {tokens: [` + token + `]}
broker: {url: "tls://` + broker + `:4222", password: ` + relayPassword + `, ca: "` + authority + `"}
`

// charts are values with which the chart is held to what holds for the kustomizations.
func charts() map[string]string {
	return map[string]string{
		"cluster":    trial,
		"expecting":  trial + "statusAPI: {expect: true, key: in-a-file}",
		"monitoring": trial + "monitoring: {enabled: true, dashboard: {enabled: true}}",
		"nack":       trial + "nack: {enabled: true}",
		"fixed":      trial + "autoscaling: {enabled: false}\nnetworkPolicy: {extraEgress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: traces}}}], ports: [{port: 4318}]}]}",
		"outbox":     trial + "outbox: {enabled: true}",
		"embedded":   embedded,
	}
}

const embedded = `
webhooks: {tokens: [` + token + `]}
broker: {embedded: true, password: ` + relayPassword + `}
`

// load reads the chart.
func load(t *testing.T) *helmchart.Chart {
	t.Helper()
	c, err := loader.LoadDir(relaytest.Deploy("helm", "apixo-relay"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// parse reads values as Helm reads a file of them.
func parse(t *testing.T, values string) map[string]any {
	t.Helper()
	v, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatalf("%v\n%s", err, values)
	}
	return v
}

// render is 'helm template', with these values.
func render(t *testing.T, release chartutil.ReleaseOptions, values string) (files map[string]string, err error) {
	t.Helper()
	c := load(t)
	all, err := chartutil.ToRenderValues(c, parse(t, values), release, nil)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(c, all)
}

// chart renders the chart as 'helm install apixo-relay' does, and decodes what comes as build
// does. A StatefulSet is there as a Deployment, too, with the volume claim of its first pod.
func chart(t *testing.T, values string) (m manifests) {
	t.Helper()
	files, err := render(t, chartutil.ReleaseOptions{Name: "apixo-relay", Namespace: "apixo", Revision: 1, IsInstall: true}, values)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for _, document := range strings.Split(files[name], "\n---\n") {
			if strings.TrimSpace(document) == "" {
				continue
			}
			strict[any](t, []byte(document)) // no name twice
			m.add(t, []byte(document))
		}
	}
	for _, s := range all[*appsv1.StatefulSet](m) {
		d, claims := asDeployment(s)
		m.objects = append(m.objects, d)
		for _, c := range claims {
			m.objects = append(m.objects, c)
		}
	}
	for _, a := range m.accounts { // which has to be there
		m.objects = append(m.objects, &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: a.Spec.User.Secret.Name}, Data: map[string][]byte{
			"user": []byte("operator"), "password": []byte(operatorPassword), "ca.crt": []byte(authority),
		}})
	}
	return m
}

// asDeployment is what a StatefulSet does of what a Deployment does: it ends a pod before it
// starts the next one.
func asDeployment(s *appsv1.StatefulSet) (d *appsv1.Deployment, claims []*corev1.PersistentVolumeClaim) {
	d = &appsv1.Deployment{ObjectMeta: s.ObjectMeta, Spec: appsv1.DeploymentSpec{
		Replicas: s.Spec.Replicas, Selector: s.Spec.Selector, Template: *s.Spec.Template.DeepCopy(),
		Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
	}}
	for _, template := range s.Spec.VolumeClaimTemplates {
		c := template.DeepCopy()
		c.Name += "-" + s.Name + "-0"
		claims = append(claims, c)
		d.Spec.Template.Spec.Volumes = append(d.Spec.Template.Spec.Volumes, corev1.Volume{Name: template.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name},
		}})
	}
	return d, claims
}

// Two releases in one namespace have nothing in common.
func TestReleases(t *testing.T) {
	t.Parallel()
	const everything = trial + "ui: {enabled: true, tokens: [" + uiToken + "], password: p, ingress: {enabled: true, host: page.example.com}}\narchive: {enabled: true, password: p}\nmonitoring: {enabled: true, dashboard: {enabled: true}}\nnack: {enabled: true}\n"
	seen := make(map[string]string)
	for _, name := range []string{"apixo-relay", "one", "two"} {
		files, err := render(t, chartutil.ReleaseOptions{Name: name, Namespace: "apixo", IsInstall: true}, everything)
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range files {
			for _, document := range strings.Split(text, "\n---\n") {
				var o metav1.PartialObjectMetadata
				if err := yaml.Unmarshal([]byte(document), &o); err != nil || !strings.HasSuffix(file, ".yaml") || o.Kind == "" {
					continue
				}
				key := o.Kind + " " + o.Name
				if other := seen[key]; other != "" {
					t.Errorf("%s is part of %s and of %s", key, other, name)
				}
				seen[key] = name
				if o.Labels["app.kubernetes.io/instance"] != name || o.Labels["app.kubernetes.io/managed-by"] != "Helm" || o.Labels["helm.sh/chart"] != "apixo-relay-1.0.0" {
					t.Errorf("%s has the labels %v", key, o.Labels)
				}
				var data any
				if err := yaml.Unmarshal([]byte(document), &data); err != nil {
					t.Fatal(err)
				}
				if strays := foreign(data, name); len(strays) > 0 {
					t.Errorf("%s finds pods of other releases by %v", key, strays)
				}
				if o.Kind == "PodMonitor" && !strings.Contains(o.Name, "apixo-relay") {
					t.Errorf("the alerts do not know the job %s", o.Name)
				}
			}
		}
	}
	if len(seen) < 60 {
		t.Errorf("there are %d objects", len(seen))
	}
}

// foreign are the labels by which pods of the relay are found in whatever release.
func foreign(data any, release string) (found []any) {
	switch v := data.(type) {
	case map[string]any:
		for key, inner := range v {
			labels, ok := inner.(map[string]any)
			if isOurs := labels["app.kubernetes.io/name"] != nil || labels["apixo-relay/metrics"] != nil; ok && isOurs && labels["app.kubernetes.io/instance"] != release {
				found = append(found, key, labels)
			}
			found = append(found, foreign(inner, release)...)
		}
	case []any:
		for _, inner := range v {
			found = append(found, foreign(inner, release)...)
		}
	}
	return found
}
