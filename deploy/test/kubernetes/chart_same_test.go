package kubernetes_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The chart makes what the kustomizations make, but for its own labels, for a checksum in the
// place of a digest in a name, and for the names of NACK's resources. So whatever is tried with
// one is tried with both.
func TestChartIsKustomization(t *testing.T) {
	t.Parallel()
	dir := fill(t, []byte(authority))
	const (
		asks    = "statusAPI: {expect: true, key: REPLACE-ME}\n"
		page    = "ui: {enabled: true, tokens: [" + uiToken + "], password: " + uiPassword + "}\n"
		archive = "archive: {enabled: true, password: " + archivePassword + ", credentials: REPLACE-ME}\n"
		watched = "monitoring: {enabled: true}\n"
	)
	for kustomization, values := range map[string]string{
		"deployment":          "",
		"expecting":           asks,
		"pages/deployment":    page,
		"pages/expecting":     page + asks,
		"archives/deployment": archive,
		"archives/expecting":  page + archive + asks + watched,
		"yours":               "nack: {enabled: true}\n" + watched,
	} {
		t.Run(strings.ReplaceAll(kustomization, "/", " "), func(t *testing.T) {
			t.Parallel()
			want, have := build(t, path.Join(dir, kustomization)).plain(t), chart(t, trial+values).plain(t)
			for key := range want {
				if have[key] == nil {
					t.Errorf("the chart has no %s", key)
				}
			}
			for key := range have {
				if want[key] == nil {
					t.Errorf("the kustomization has no %s", key)
				} else if diff := cmp.Diff(want[key], have[key]); diff != "" {
					t.Errorf("%s: what the chart has besides (+), and what it lacks (-):\n%s", key, diff)
				}
			}
			if len(want) < 8 {
				t.Errorf("there are %d resources", len(want))
			}
		})
	}
}

// digest ends the names of what kustomize makes from files. Its letters make no words.
var digest = regexp.MustCompile(`^(apixo-relay(?:-[a-z]+)*)-[2456789bcdfghkmt]{10}$`)

// nackNames are those of the chart, which are a release's, and of the kustomization.
var nackNames = map[string]string{
	"apixo-relay": "apixo", "apixo-relay-events": "apixo", "apixo-relay-quarantine": "apixo-quarantine",
	"apixo-relay-archive": "apixo-archive", "apixo-relay-expected": "apixo-expected",
}

// plain are the resources as data, by kind and name, without what is different on purpose.
func (m manifests) plain(t *testing.T) map[string]any {
	t.Helper()
	resources := make(map[string]any)
	add := func(resource any, names map[string]string) {
		text, err := json.Marshal(resource)
		if err != nil {
			t.Fatal(err)
		}
		var data map[string]any
		if err := json.Unmarshal(text, &data); err != nil {
			t.Fatal(err)
		}
		delete(data, "status")
		metadata := data["metadata"].(map[string]any)
		delete(metadata, "labels")
		delete(metadata, "namespace")
		data = plain(data, names).(map[string]any)
		key := data["kind"].(string) + " " + data["metadata"].(map[string]any)["name"].(string)
		if key == "Secret apixo-streams" { // of yours, for NACK
			return
		}
		resources[key] = settled(t, data)
	}
	for _, o := range m.objects {
		add(o, nil)
	}
	for _, s := range m.streams {
		add(s, nackNames)
	}
	for _, b := range m.buckets {
		add(b, nackNames)
	}
	for _, a := range m.accounts {
		add(a, nackNames)
	}
	return resources
}

// plain takes the chart's labels and checksums out of data, and replaces names.
func plain(data any, names map[string]string) any {
	switch v := data.(type) {
	case map[string]any:
		for key, value := range v {
			if key == "app.kubernetes.io/instance" || strings.HasPrefix(key, "apixo-relay/") && key != "apixo-relay/metrics" {
				delete(v, key)
				continue
			}
			v[key] = plain(value, names)
			if annotations, ok := v[key].(map[string]any); ok && key == "annotations" && len(annotations) == 0 {
				delete(v, key)
			}
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i], names)
		}
	case string:
		if named := digest.FindStringSubmatch(v); named != nil {
			return named[1]
		}
		if name, ok := names[v]; ok {
			return name
		}
	}
	return data
}

// settled takes white space from around secrets, and settings out that are empty, which is as
// good as unset.
func settled(t *testing.T, resource map[string]any) map[string]any {
	t.Helper()
	values, _ := resource["data"].(map[string]any)
	switch resource["kind"] {
	case "ConfigMap":
		maps.DeleteFunc(values, func(_ string, value any) bool { return value == "" })
	case "Secret":
		delete(resource, "type") // Opaque, told or not
		for name, value := range values {
			secret, err := base64.StdEncoding.DecodeString(value.(string))
			if err != nil {
				t.Fatal(err)
			}
			values[name] = strings.TrimSpace(string(secret))
		}
	}
	return resource
}
