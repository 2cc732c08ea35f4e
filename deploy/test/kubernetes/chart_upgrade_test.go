package kubernetes_test

import (
	"context"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// cluster is what an upgrade finds of the release before it, by kind and name.
type cluster map[string]map[string]any

func (c cluster) GetClientFor(_, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	return resources{cluster: c, kind: kind}, true, nil
}

// resources are those of a kind.
type resources struct {
	dynamic.NamespaceableResourceInterface

	cluster cluster
	kind    string
}

func (r resources) Namespace(string) dynamic.ResourceInterface { return r }

func (r resources) Get(_ context.Context, name string, _ metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	if object, ok := r.cluster[r.kind+" "+name]; ok {
		return &unstructured.Unstructured{Object: object}, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: r.kind}, name)
}

// An upgrade that takes consumers away from where the events are is refused, unless it is told
// to.
func TestChartUpgrade(t *testing.T) {
	t.Parallel()
	settings := func(data map[string]any) cluster {
		return cluster{"ConfigMap apixo-relay": {"data": data}}
	}
	withCluster := settings(map[string]any{"NATS_URL": "tls://nats:4222"})
	inside := settings(map[string]any{})
	inside["StatefulSet apixo-relay"] = map[string]any{"kind": "StatefulSet"}
	outbox := settings(map[string]any{"NATS_URL": "tls://nats:4222"})
	outbox["StatefulSet apixo-relay"] = map[string]any{"kind": "StatefulSet"}
	for name, c := range map[string]struct {
		before       cluster
		values, want string
	}{
		"nothing is there":            {cluster{}, embedded, ""},
		"a cluster stays":             {withCluster, trial, ""},
		"the broker stays inside":     {inside, embedded, ""},
		"out of the relay":            {inside, trial, "the events of this release are with the broker inside the relay, in the volume apixo-relay-data-apixo-relay-0"},
		"into the relay":              {withCluster, embedded, "the events of this release are in a NATS cluster"},
		"out of the relay, as told":   {inside, trial + "allowBrokerChange: true", ""},
		"into the relay, as told":     {withCluster, embedded + "allowBrokerChange: true", ""},
		"an outbox stays":             {outbox, trial + "outbox: {enabled: true}", ""},
		"an outbox comes":             {withCluster, trial + "outbox: {enabled: true}", ""},
		"an outbox goes":              {outbox, trial, "each relay of this release has an outbox in a volume"},
		"an outbox goes, as was told": {outbox, trial + "allowBrokerChange: true", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, err := chartutil.ToRenderValues(load(t), parse(t, c.values), chartutil.ReleaseOptions{Name: "apixo-relay", Namespace: "apixo", Revision: 2, IsUpgrade: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = engine.RenderWithClientProvider(load(t), all, c.before)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; %q was expected", err, c.want)
			}
		})
	}
}
