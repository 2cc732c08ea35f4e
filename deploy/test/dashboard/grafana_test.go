package main_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// board is a dashboard in Grafana's classic schema, which the versions before
// dashboardv2 read, too.
//
//lint:ignore SA1019 deprecated in the generator's favour of the newer one
type board = dashboard.Dashboard

// TestGrafanaKnowsAllOfIt: every member of the file is one that Grafana has in that
// place, and none is missing that it wants, by the types that Grafana publishes.
func TestGrafanaKnowsAllOfIt(t *testing.T) {
	t.Parallel()
	types := cog.NewRuntime()
	for _, panel := range []variants.PanelcfgConfig{
		stat.VariantConfig(), timeseries.VariantConfig(), heatmap.VariantConfig(), statetimeline.VariantConfig(), bargauge.VariantConfig(),
	} {
		types.RegisterPanelcfgVariant(panel)
	}
	types.RegisterDataqueryVariant(prometheus.VariantConfig())
	file, err := os.ReadFile(relaytest.Deploy("grafana", "dashboards", "apixo-relay.json"))
	if err != nil {
		t.Fatal(err)
	}
	// Where nothing is wrong this is an empty list of errors, and not nil. For the same
	// reason the panels are not found in what it has read.
	if err := new(board).UnmarshalJSONStrict(file); err != nil && err.Error() != "" {
		t.Fatal(err)
	}
	var read board
	if err := json.Unmarshal(file, &read); err != nil {
		t.Fatal(err)
	}
	panels := 0
	for _, p := range read.Panels {
		if p.Panel == nil {
			continue // a row's headline
		}
		panels++
		if _, known := types.ConfigForPanelcfgVariant(p.Panel.Type); !known {
			t.Errorf("%s is a %s, into which nobody has looked", *p.Panel.Title, p.Panel.Type)
		}
		for _, target := range p.Panel.Targets {
			if target.DataqueryType() != "prometheus" {
				t.Errorf("%s has a query for %q, into which nobody has looked", *p.Panel.Title, target.DataqueryType())
			}
		}
	}
	if panels < 20 {
		t.Errorf("%d panels were found", panels)
	}
}
