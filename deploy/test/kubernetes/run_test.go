package kubernetes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/expected"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// The kustomization of the README and the example for a sidecar, with one NATS cluster:
// what they describe runs, and does what it is for.
func TestWithCluster(t *testing.T) {
	t.Parallel()
	engine.Need(t, "openssl")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	network := engine.NewNetwork(t)
	program := relaytest.Build(t, "./cmd/apixo-relay")
	ca := startBroker(t, network)
	dir := fill(t, ca)

	yours := build(t, path.Join(dir, "yours"))
	p := newPod(t, yours, "apixo-relay", podSpec(t, yours), network)
	relay := p.container(t, program)
	js := yours.asNACK(t, ctx, network)
	try(t, ctx, "the cluster does not answer", func(ctx context.Context) error {
		_, err := js.AccountInfo(ctx)
		return err
	})
	if out, code := relay.Output(t); code != 1 || !strings.Contains(out, "RELAY_STREAM_POLICY=require leaves making it to you") {
		t.Errorf("without streams: exit code %d\n%s", code, out)
	}
	yours.makeStreams(t, ctx, js)
	running := relay.Start(t)
	p.awaitReady(t, ctx, running)
	// A replica may lag behind for a moment on a busy machine, which is a warning.
	try(t, ctx, "check finds something", func(context.Context) error {
		out, code := relay.Exec(t, running.Process, nil, "/apixo-relay", "check")
		if code != 0 || strings.Contains(out, "\nwarn") || strings.Contains(out, "\nfail") {
			return fmt.Errorf("exit code %d\n%s", code, out)
		}
		return nil
	})
	if status, body := p.deliver(t, token, "task_of_a_deployment"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := p.deliver(t, "not-the-token-of-this-test", "task_of_nobody"); status != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %d", status)
	}
	// A kubelet changes the files of a secret that has changed.
	p.project(t, "apixo-relay-tokens", map[string][]byte{"tokens": []byte("the-next-token-of-this-test")})
	for {
		status, body := p.deliver(t, "the-next-token-of-this-test", "task_of_the_next_token")
		if status == http.StatusOK {
			break
		}
		pause(t, ctx, "the new token does not open: "+body)
	}

	example := build(t, path.Join(dir, "example"))
	p = newPod(t, example, "application", podSpec(t, example), network)
	p.awaitReady(t, ctx, p.container(t, program).Start(t))
	if status, body := p.deliver(t, token, "task_of_a_sidecar"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	p.consume(t, ctx, []string{"task_of_a_deployment", "task_of_the_next_token", "task_of_a_sidecar"})
}

// The example with the broker inside the sidecar: the application reads what came, and
// what came is there again after the relay has been killed.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	engine.Need(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	network := engine.NewNetwork(t)
	program := relaytest.Build(t, "./cmd/apixo-relay")
	m := build(t, path.Join(fill(t, nil), "example-embedded"))
	p := newPod(t, m, "application", podSpec(t, m), network)
	p.remembersWhenKilled(t, ctx, program)
	if status, body := p.deliver(t, token, "task_after"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	p.consume(t, ctx, []string{"task_before", "task_after"})
	if conn, err := network.Dial(ctx, "tcp", "application:4222"); err == nil {
		conn.Close()
		t.Error("other pods reach the broker, which asks for no password")
	}
}

// remembersWhenKilled stores task_before in the broker inside, kills the relay, and holds that
// the one after it knows the task. It returns that one.
func (p *pod) remembersWhenKilled(t *testing.T, ctx context.Context, program string) (engine.Container, engine.Running) {
	t.Helper()
	first := p.container(t, program).Start(t)
	p.awaitReady(t, ctx, first)
	if status, body := p.deliver(t, token, "task_before"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.Exited
	relay := p.container(t, program)
	running := relay.Start(t)
	p.awaitReady(t, ctx, running)
	if status, body := p.deliver(t, token, "task_before"); status != http.StatusOK || !strings.Contains(body, `"duplicate":true`) {
		t.Errorf("%d %s", status, body)
	}
	return relay, running
}

// Whoever forgets to put secrets in the place of the placeholders has no relay that
// anybody can use.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	engine.Need(t)
	network := engine.NewNetwork(t)
	m := build(t, relaytest.Deploy("kubernetes", "deployment"))
	p := newPod(t, m, "apixo-relay", podSpec(t, m), network)
	if out, code := p.container(t, relaytest.Build(t, "./cmd/apixo-relay")).Output(t); code != 2 || !strings.Contains(out, "RELAY_WEBHOOK_TOKENS") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// try asks the broker until it answers: without a leader it says nothing at all.
func try(t *testing.T, ctx context.Context, problem string, ask func(context.Context) error) {
	t.Helper()
	for {
		once, cancel := context.WithTimeout(ctx, time.Second)
		err := ask(once)
		cancel()
		if err == nil {
			return
		}
		pause(t, ctx, problem+": "+err.Error())
	}
}

func podSpec(t *testing.T, m manifests) corev1.PodSpec {
	t.Helper()
	deployments := all[*appsv1.Deployment](m)
	if len(deployments) != 1 {
		t.Fatalf("%d Deployments", len(deployments))
	}
	return deployments[0].Spec.Template.Spec
}

// awaitReady waits for one probe after the other, as a kubelet does.
func (p *pod) awaitReady(t *testing.T, ctx context.Context, running engine.Running) {
	t.Helper()
	c, _ := relayOf(t, p.spec)
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		p.await(t, ctx, probe, running)
	}
}

// deliver sends a webhook to where the Ingress and the Service lead.
func (p *pod) deliver(t *testing.T, token, task string) (status int, body string) {
	t.Helper()
	return p.deliverState(t, token, task, "success")
}

// deliverState is deliver for an outcome.
func (p *pod) deliverState(t *testing.T, token, task, state string) (status int, body string) {
	t.Helper()
	return p.deliverResult(t, token, task, state)
}

// deliverResult is deliver for an outcome with addresses.
func (p *pod) deliverResult(t *testing.T, token, task, state string, addresses ...string) (status int, body string) {
	t.Helper()
	rule := all[*networkingv1.Ingress](p.of)[0].Spec.Rules[0].HTTP.Paths[0]
	target := all[*corev1.Service](p.of)[0].Spec.Ports[0].TargetPort
	url := fmt.Sprintf("http://%s:%d%s/%s", p.name, number(p.spec, target), rule.Path, token)
	result, err := json.Marshal(map[string][]string{"resultUrls": append([]string{}, addresses...)})
	if err != nil {
		t.Fatal(err)
	}
	webhook := fmt.Sprintf(`{"code":200,"data":{"taskId":%q,"state":%q,"resultJson":%q}}`, task, state, result)
	r, err := p.client.Post(url, "application/json", strings.NewReader(webhook))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// consume reads these events, and no others, by what the application is told.
func (p *pod) consume(t *testing.T, ctx context.Context, want []string) {
	t.Helper()
	told := p.of.environment(t, p.spec.Containers[0])
	password, ca := "", []byte(nil)
	for _, v := range p.spec.Volumes {
		if v.Secret != nil && strings.HasPrefix(told["NATS_PASSWORD_FILE"], mountPath(p.spec.Containers[0], v.Name)) {
			files := p.of.secret(t, v.Secret.SecretName)
			password, ca = strings.TrimSpace(string(files[path.Base(told["NATS_PASSWORD_FILE"])])), files[path.Base(told["NATS_CA"])]
		}
	}
	js := connect(t, ctx, p.network, p.name, told["NATS_URL"], told["NATS_USER"], password, ca)
	consumer, err := js.CreateOrUpdateConsumer(ctx, "APIXO", jetstream.ConsumerConfig{Durable: "application", FilterSubject: "apixo.task.>"})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(len(want), jetstream.FetchContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for msg := range batch.Messages() {
		event, err := schema.DecodeMessage(msg.Headers(), msg.Data())
		if err != nil {
			t.Fatal(err)
		}
		have = append(have, event.ID)
		if err := msg.DoubleAck(ctx); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(have, want) {
		t.Errorf("%v came, %v was expected", have, want)
	}
}

// mountPath is where a volume is in a container, or what nothing begins with.
func mountPath(c corev1.Container, volume string) string {
	for _, v := range c.VolumeMounts {
		if v.Name == volume {
			return v.MountPath + "/"
		}
	}
	return "\x00"
}

// asNACK connects as NACK does: by the Account and its secret, byte for byte.
func (m manifests) asNACK(t *testing.T, ctx context.Context, network *engine.Network) jetstream.JetStream {
	t.Helper()
	spec := m.accounts[0].Spec
	user := m.secret(t, spec.User.Secret.Name)
	ca := m.secret(t, spec.TLS.Secret.Name)[spec.TLS.CA]
	return connect(t, ctx, network, "", spec.Servers[0], string(user[spec.User.User]), string(user[spec.User.Password]), ca)
}

// makeStreams makes the streams as NACK does, and compares them with those that the relay
// would make.
func (m manifests) makeStreams(t *testing.T, ctx context.Context, js jetstream.JetStream) {
	t.Helper()
	wanted, bucket := m.desired(t)
	for _, s := range m.streams {
		have := s.config(t)
		if !reflect.DeepEqual(have, wanted[have.Name]) {
			t.Errorf("NACK makes\n%+v\nand the relay\n%+v", have, wanted[have.Name])
		}
		if !s.Spec.PreventDelete {
			t.Errorf("the events of %s go with the resource", have.Name)
		}
		delete(wanted, have.Name)
		try(t, ctx, "the stream cannot be made", func(ctx context.Context) error {
			_, err := js.CreateStream(ctx, have)
			return err
		})
	}
	if len(wanted) > 0 {
		t.Errorf("nobody makes %v", wanted)
	}
	if len(m.buckets) != 1 {
		t.Fatalf("NACK makes %d buckets", len(m.buckets))
	}
	have := m.buckets[0].config()
	if !reflect.DeepEqual(have, bucket) {
		t.Errorf("NACK makes\n%+v\nand the relay\n%+v", have, bucket)
	}
	if !m.buckets[0].Spec.PreventDelete {
		t.Error("the announced tasks go with the resource")
	}
	try(t, ctx, "the bucket cannot be made", func(ctx context.Context) error {
		_, err := js.CreateKeyValue(ctx, have)
		return err
	})
}

// desired are the streams and the bucket that the relay would make, by its settings.
func (m manifests) desired(t *testing.T) (streams map[string]jetstream.StreamConfig, bucket jetstream.KeyValueConfig) {
	t.Helper()
	c, _ := relayOf(t, podSpec(t, m))
	environ := []string{"NATS_URL=nats://unused"}
	for name, value := range m.environment(t, c) {
		if strings.HasPrefix(name, "RELAY_STREAM") || slices.Contains([]string{"RELAY_SUBJECT_PREFIX", "RELAY_QUARANTINE_STREAM", "RELAY_DEDUPE_WINDOW", "RELAY_EXPECT_BUCKET"}, name) {
			environ = append(environ, name+"="+value)
		}
	}
	cfg, err := config.Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	events, quarantine := publisher.DesiredStreams(cfg.Stream)
	told := archive.DesiredStream(cfg.Stream, 0)
	told.MaxBytes = -1 // which 0 means, too
	return map[string]jetstream.StreamConfig{events.Name: events, quarantine.Name: quarantine, told.Name: told}, expected.DesiredBucket(cfg)
}

// config is what NACK makes of a resource (its keyValueSpecToConfig): what is not said has
// nats.go's default.
func (b keyValue) config() jetstream.KeyValueConfig {
	c := jetstream.KeyValueConfig{
		Bucket: b.Spec.Bucket, Description: b.Spec.Description, History: b.Spec.History, Replicas: b.Spec.Replicas,
		LimitMarkerTTL: b.Spec.LimitMarkerTTL, Storage: jetstream.FileStorage,
	}
	if b.Spec.Storage == "memory" {
		c.Storage = jetstream.MemoryStorage
	}
	return c
}

// config is what NACK makes of a resource (its streamSpecToConfig): what is not said has
// the default of its CRD, which differs from the server's.
func (s stream) config(t *testing.T) jetstream.StreamConfig {
	t.Helper()
	duration := func(text string) time.Duration {
		if text == "" {
			return 0
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Error(err)
		}
		return d
	}
	c := jetstream.StreamConfig{
		Name: s.Spec.Name, Description: s.Spec.Description, Subjects: s.Spec.Subjects, MaxBytes: s.Spec.MaxBytes,
		MaxAge: duration(s.Spec.MaxAge), Replicas: s.Spec.Replicas, Duplicates: duration(s.Spec.DuplicateWindow),
		AllowDirect: s.Spec.AllowDirect,
		Storage:     jetstream.MemoryStorage, Discard: jetstream.DiscardOld, Retention: jetstream.InterestPolicy,
	}
	if s.Spec.Storage == "file" {
		c.Storage = jetstream.FileStorage
	}
	if s.Spec.Discard == "new" {
		c.Discard = jetstream.DiscardNew
	}
	if s.Spec.Retention == "limits" || s.Spec.Retention == "" {
		c.Retention = jetstream.LimitsPolicy
	}
	return c
}
