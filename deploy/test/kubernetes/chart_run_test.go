package kubernetes_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// The chart's StatefulSet, which no kustomization has: other pods read what came, with the
// password alone, and what came is there again after the relay has been killed. The rest of the
// chart runs as the kustomizations that it is held equal to.
func TestChartEmbedded(t *testing.T) {
	t.Parallel()
	engine.Need(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	network := engine.NewNetwork(t)
	program := relaytest.Build(t, "./cmd/apixo-relay")
	m := chart(t, embedded)
	p := newPod(t, m, "apixo-relay", podSpec(t, m), network)
	relay, running := p.remembersWhenKilled(t, ctx, program)
	if out, code := relay.Exec(t, running.Process, nil, "/apixo-relay", "check"); code != 0 || strings.Contains(out, "\nfail") {
		t.Errorf("exit code %d\n%s", code, out)
	}

	var service *corev1.Service
	for _, s := range all[*corev1.Service](m) {
		if s.Name == "apixo-relay-nats" {
			service = s
		}
	}
	if service == nil || number(p.spec, service.Spec.Ports[0].TargetPort) != 4222 {
		t.Fatal("no Service leads to the broker")
	}
	if conn, err := nats.Connect("nats://apixo-relay:4222", nats.SetCustomDialer(inside{network, ""}), nats.SkipHostLookup(), nats.UserInfo("relay", "another password")); err == nil {
		conn.Close()
		t.Error("the broker takes any password")
	}
	js := connect(t, ctx, network, "", "nats://apixo-relay:4222", "relay", relayPassword, nil)
	consumer, err := js.CreateOrUpdateConsumer(ctx, "APIXO", jetstream.ConsumerConfig{FilterSubject: "apixo.task.>"})
	if err != nil {
		t.Fatal(err)
	}
	info, err := consumer.Info(ctx)
	if err != nil || info.NumPending != 1 {
		t.Errorf("%+v events wait: %v", info, err)
	}
}
