package kubernetes_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

var update = flag.Bool("update", false, "write what is made from other files")

// alertsHead is what a PrometheusRule has before the rules.
const alertsHead = `# Made from deploy/prometheus/apixo-relay.rules.yaml, in the folder deploy/test, by
# 'go test ./kubernetes -run TestAlerts -update'.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: apixo-relay
spec:
`

// The alerts are those of deploy/prometheus.
func TestAlerts(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile(relaytest.Deploy("prometheus", "apixo-relay.rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, groups, ok := strings.Cut(string(rules), "\ngroups:\n")
	if !ok {
		t.Fatal("there are no groups in it")
	}
	var want strings.Builder
	want.WriteString(alertsHead)
	for line := range strings.Lines("groups:\n" + groups) {
		if line != "\n" {
			line = "  " + line
		}
		want.WriteString(line)
	}
	path := relaytest.Deploy("kubernetes", "monitoring", "alerts.yaml")
	if *update {
		if err := os.WriteFile(path, []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want.String() {
		t.Error("alerts.yaml is older than the rules: run 'go test ./kubernetes -run TestAlerts -update'")
	}
}
