// Package kubernetes_test builds deploy/kubernetes, reads what comes as the API server
// would, and runs the pods that it describes: their containers with their environment,
// mounts, user and probes, beside real NATS servers. There is no kubelet and no
// controller, so that scheduling, scaling, policies and NACK itself are not tried.
package kubernetes_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// manifests are the resources of a kustomization, or of the chart.
type manifests struct {
	objects  []runtime.Object // of Kubernetes and the Prometheus Operator
	streams  []stream         // NACK's
	buckets  []keyValue
	accounts []account
}

// The secrets that the tests put in the place of the placeholders.
const (
	token            = "the-token-of-this-test"
	relayPassword    = "the-password-of-the-relay"
	consumerPassword = "the-password-of-consumers"
	operatorPassword = "the-password-of-the-operator"
	uiPassword       = "the-password-of-the-page"
	uiToken          = "the-token-of-an-operator"
	archivePassword  = "the-password-of-the-archive"
)

// broker is a NATS server's name where these tests run, in the place of service, the
// name in the manifests: Kubernetes' DNS is not here.
const (
	broker  = "nats-2"
	service = "nats.nats.svc.cluster.local"
)

// fill copies deploy/kubernetes, puts secrets in the place of the placeholders, and makes
// the kustomization of the README in the folder "yours", with the files that its commands
// make.
func fill(t *testing.T, ca []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(relaytest.Deploy("kubernetes"))); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"common/secrets/tokens": token + "\n", "common/secrets/nats-password": relayPassword + "\n", "common/secrets/ca.crt": string(ca),
		"ui/secrets/tokens": uiToken + "\n", "ui/secrets/password": uiPassword + "\n", "ui/secrets/ca.crt": string(ca),
		"archive/secrets/password": archivePassword + "\n", "archive/secrets/ca.crt": string(ca),
		// The archive, beside all that it can be beside.
		"archives/deployment/kustomization.yaml": components("../../deployment", "../../archive"),
		"archives/expecting/kustomization.yaml":  components("../../deployment", "../../ui", "../../archive", "../../status-api", "../../monitoring"),
		"archives/example/kustomization.yaml":    components("../../example", "../../archive"),
		// The operator's page, with each of what it can be beside.
		"pages/deployment/kustomization.yaml": components("../../deployment", "../../ui"),
		"pages/expecting/kustomization.yaml":  components("../../deployment", "../../ui", "../../status-api"),
		"pages/example/kustomization.yaml":    components("../../example", "../../ui"),
		"example/secrets/password":            consumerPassword + "\n", "example/secrets/ca.crt": string(ca),
		"yours/kustomization.yaml": readmeBlock(t, "yaml"),
		// As the README says of announced tasks.
		"expecting/kustomization.yaml":         components("../deployment", "../status-api"),
		"expecting-sidecar/kustomization.yaml": components("../example", "../status-api"),
		// As deploy/nats/cluster makes them.
		"cluster/relay-password": relayPassword + "\n", "cluster/operator-password": operatorPassword + "\n", "cluster/ca.pem": string(ca),
	}
	for _, name := range []string{"common/settings.env", "nack/account.yaml"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	for _, name := range []string{"yours", "expecting", "expecting-sidecar", "cluster", "pages/deployment", "pages/expecting", "pages/example", "archives/deployment", "archives/expecting", "archives/example"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(content, service, broker)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	makeFiles, _, found := strings.Cut(readmeBlock(t, "sh"), "kubectl")
	if !found {
		t.Fatal("the README does not apply anything")
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", strings.ReplaceAll(makeFiles, "…", "../cluster"))
	cmd.Dir = filepath.Join(dir, "yours")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the README's files: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "yours", "tokens"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// components is a kustomization with components behind a resource.
func components(resource string, components ...string) string {
	return "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + resource + "]\ncomponents: [" + strings.Join(components, ", ") + "]\n"
}

// readmeBlock is the first block of a language in the README, with this clone in the
// place of the repository.
func readmeBlock(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile(relaytest.Deploy("kubernetes", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatalf("the README shows no %s", language)
	}
	remote := regexp.MustCompile(`https://github\.com/apixo-relay/apixo-relay//deploy/kubernetes/(\w+)\?ref=v[0-9.]+`)
	return string(remote.ReplaceAll(block[1], []byte("../$1")))
}

// build builds a kustomization and decodes what comes: a field that does not exist, or
// is there twice, is an error.
func build(t *testing.T, dir string) (m manifests) {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		m.add(t, text)
	}
	return m
}

// add decodes a resource.
func (m *manifests) add(t *testing.T, text []byte) {
	t.Helper()
	var is metav1.TypeMeta
	if err := yaml.Unmarshal(text, &is); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	switch isNACK := strings.HasPrefix(is.APIVersion, nackGroup+"/"); {
	case isNACK && is.Kind == "Stream":
		m.streams = append(m.streams, strict[stream](t, text))
	case isNACK && is.Kind == "KeyValue":
		m.buckets = append(m.buckets, strict[keyValue](t, text))
	case isNACK:
		m.accounts = append(m.accounts, strict[account](t, text))
	default:
		object, _, err := decoder().Decode(text, nil, nil)
		if err != nil {
			t.Errorf("%s: %v\n%s", is.Kind, err, text)
			return
		}
		m.objects = append(m.objects, object)
	}
}

// decoder reads resources of Kubernetes and the Prometheus Operator, and nothing that they
// do not have.
var decoder = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, autoscalingv2.AddToScheme, policyv1.AddToScheme, networkingv1.AddToScheme, monitoringv1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
})

// strict reads a document as one of these types.
func strict[T any](t *testing.T, text []byte) (v T) {
	t.Helper()
	if err := yaml.UnmarshalStrict(text, &v); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	return v
}

// all are the resources of a type.
func all[T runtime.Object](m manifests) (found []T) {
	for _, o := range m.objects {
		if v, ok := o.(T); ok {
			found = append(found, v)
		}
	}
	return found
}

// kustomizations are the folders that can be built by themselves.
func kustomizations(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nkind: Kustomization\n") {
			names = append(names, filepath.Base(filepath.Dir(file)))
		}
	}
	return names
}

// Kustomize takes the last of two values for one name, and leaves out files that
// nothing names: neither is what somebody meant.
func TestFiles(t *testing.T) {
	t.Parallel()
	var texts, names []string
	err := filepath.WalkDir(relaytest.Deploy("kubernetes"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Base(path) == "README.md" {
			return err
		}
		text, err := os.ReadFile(path)
		if filepath.Ext(path) == ".yaml" {
			for _, document := range strings.Split(string(text), "\n---\n") {
				strict[any](t, []byte(document))
			}
		}
		if filepath.Base(path) == "kustomization.yaml" {
			texts = append(texts, string(text))
		} else {
			names = append(names, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 10 {
		t.Errorf("%d files were found", len(names))
	}
	for _, name := range names {
		if !strings.Contains(strings.Join(texts, ""), name) {
			t.Errorf("%s is part of nothing", name)
		}
	}
}
