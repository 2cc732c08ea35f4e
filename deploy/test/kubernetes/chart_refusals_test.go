package kubernetes_test

import (
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
)

// What somebody has mistyped, or cannot have meant, is refused by name before anything is
// installed.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ values, want string }{
		// By the schema.
		{"replicsa: 3", "replicsa"},
		{"broker: {embeded: true}", "embeded"},
		{"broker: {embedded: 'true'}", "broker/embedded"},
		{"broker: {url: 0}", "broker/url"},
		{"broker: {consumers: null, embedded: true}", "consumers"}, // which would be all pods
		{"broker: {consumers: {apixo-relay/consumer: null}, embedded: true}", "broker/consumers"},
		{"networkPolicy: null", "networkPolicy"},
		{"settings: {RELAY_MAX_IN_FLIHGT: 512}", "RELAY_MAX_IN_FLIHGT"},
		{"settings: {RELAY_WEBHOOK_TOKENS: 0123456789abcdef}", "RELAY_WEBHOOK_TOKENS"},
		{"settings: {OTEL_EXPORTER_OTLP_HEADERS: authorization=secret}", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"settings: {NATS_URL: 'nats://nats:4222'}", "NATS_URL"},
		{"settings: {RELAY_LISTEN_ADDR: ':80'}", "RELAY_LISTEN_ADDR"},
		{"settings: {RELAY_PUBLISH_TIMEOUT: 20}", "RELAY_PUBLISH_TIMEOUT"},
		{"settings: {RELAY_STREAM_REPLICAS: 2}", "RELAY_STREAM_REPLICAS"},
		{"settings: {RELAY_STREAM_POLICY: created}", "RELAY_STREAM_POLICY"},
		{"settings: {RELAY_MAX_BODY_BYTES: 64KiB}", "RELAY_MAX_BODY_BYTES"},
		{"settings: {RELAY_PROXY_PROTOCOL: 'on'}", "RELAY_PROXY_PROTOCOL"},
		{"ui: {settings: {RELAY_ARCHIVE_HOSTS: '*'}}", "RELAY_ARCHIVE_HOSTS"},
		{"archive: {settings: {AWS_SECRET_ACCESS_KEY: secret}}", "AWS_SECRET_ACCESS_KEY"},
		{"archive: {to: 'file:///data'}", "archive/to"},
		{"statusAPI: {verify: on}", "statusAPI/verify"},
		{"webhooks: {tokens: short}", "webhooks/tokens"},
		{"webhooks: {tokens: [hidden]}", "webhooks/tokens"},
		{"webhooks: {existingSecret: My Secret}", "webhooks/existingSecret"},
		{"image: {digest: v1.0.0}", "image/digest"},
		{"image: {tag: 'v1.0.0@sha256:1'}", "image/tag"},
		{"resources: {limit: {memory: 1Gi}}", "limit"},
		{"resources: {limits: {memory: 1GB}}", "memory"},
		{"volume: {size: large}", "volume/size"},
		{"volume: {accessMode: ReadWriteMany}", "volume/accessMode"},
		{"tolerations: [{key: a, operater: Exists}]", "operater"},
		{"service: {port: 80000}", "service/port"},
		{"autoscaling: {minReplicas: two}", "autoscaling/minReplicas"},
		{"networkPolicy: {natsNamespace: ''}", "networkPolicy/natsNamespace"}, // all of them, for Kubernetes
		{"networkPolicy: {extraEgress: [{ports: [{port: 443}]}]}", "networkPolicy/extraEgress"},
		{"ingress: {host: 'https://hooks.example.com'}", "ingress/host"},
		{"monitoring: {interval: 15}", "monitoring/interval"},
		// By sentences.
		{"broker: {url: nats.nats.svc:4222}", "broker.url=nats.nats.svc:4222 is no address"},
		{"broker: {url: 'nats://relay:hidden@nats:4222'}", "broker.url has a user or a password in it"},
		{"broker: {ca: ca.pem}", "broker.ca is no certificate in PEM form"},
		{"webhooks: {tokens: ['0123456789abcdef,hidden']}", "webhooks.tokens[0] has a comma"},
		{"broker: {embedded: true}\nui: {enabled: true}", "ui.enabled needs a NATS cluster, and broker.embedded=true puts the broker inside the relay"},
		{"broker: {embedded: true}\narchive: {enabled: true}", "archive.enabled needs a NATS cluster"},
		{"broker: {embedded: true}\nnack: {enabled: true}", "nack.enabled needs a NATS cluster"},
		{"broker: {embedded: true}\noutbox: {enabled: true}", "outbox.enabled needs a NATS cluster"},
		{"broker: {embedded: true, password: hidden}", "broker.password has 6 characters"},
		{"broker: {tlsSecret: tls}", "broker.tlsSecret is for the broker inside the relay"},
		{"broker: {password: p}", "broker.ca is empty"},
		{"webhooks: {tokens: [" + token + "], existingSecret: mine}", "webhooks.existingSecret names a secret of yours, and webhooks.tokens makes one"},
		{"ui: {tokens: [" + token + "], existingSecret: mine}", "ui.existingSecret names a secret of yours"},
		{"statusAPI: {key: k}", "statusAPI.key is for a secret that the chart makes"},
		{"webhooks: {tokens: [" + token + "]}\nstatusAPI: {verify: flag}", "statusAPI.key is empty"},
		{"archive: {credentials: c}", "archive.credentials is for a secret that the chart makes"},
		{"ingress: {host: ''}", "ingress.host is empty"},
		{"ui: {ingress: {enabled: true}}", "ui.ingress.host is empty"},
		{"autoscaling: {minReplicas: 11}", "autoscaling.minReplicas=11 is more than autoscaling.maxReplicas=10"},
		{"settings: {RELAY_SHUTDOWN_TIMEOUT: 60s}", "RELAY_SHUTDOWN_TIMEOUT=60s and preStopSeconds=5 need 70 or more"},
		{"nack: {enabled: true}\nsettings: {RELAY_STREAM_MAX_AGE: 7d}", "settings.RELAY_STREAM_MAX_AGE=7d has days or weeks"},
		// What is no error.
		{"", ""},
		{"settings: {RELAY_MAX_IN_FLIGHT: '512', RELAY_PROXY_PROTOCOL: true, RELAY_STREAM_MAX_AGE: 1h30m, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://traces:4318', OTEL_TRACES_SAMPLER_ARG: 0.25}", ""},
		{"broker: {url: 'tls://a:4222,tls://b:4222'}", ""},
		{"settings: {RELAY_SHUTDOWN_TIMEOUT: 60s}\nterminationGracePeriodSeconds: 70", ""},
	} {
		t.Run(c.values, func(t *testing.T) {
			t.Parallel()
			_, err := render(t, chartutil.ReleaseOptions{Name: "apixo-relay", Namespace: "apixo", IsInstall: true}, c.values)
			switch {
			case err == nil && c.want != "":
				t.Errorf("it is taken; an error with %q was expected", c.want)
			case err != nil && (c.want == "" || !strings.Contains(strings.ReplaceAll(err.Error(), ".", "/"), strings.ReplaceAll(c.want, ".", "/"))):
				t.Errorf("%v; %q was expected", err, c.want)
			case err != nil && strings.Contains(err.Error(), "hidden"):
				t.Errorf("%v: a secret is in it", err)
			}
		})
	}
}
