package monitoring

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

var update = flag.Bool("update", false, "draw deploy/grafana/dashboard.svg anew, which takes three minutes")

// TestMonitoring lets everything happen to relays, and Prometheus tell of it: the
// alerts come and go, and each query of the dashboard finds something.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	tool(t, "prometheus")
	program := relaytest.Build(t, "./cmd/apixo-relay")
	// hub is the broker of others: a relay with an embedded one.
	hub := startNode(t, program, "hub")
	busy := startNode(t, program, "busy", "NATS_URL="+hub.Broker)
	outbox := startNode(t, program, "outbox", "RELAY_OUTBOX_MAX_BYTES=1000000", "NATS_URL="+hub.Broker, "RELAY_OUTBOX=true")
	troubled := startNode(t, program, "troubled", "RELAY_DEDUPE_WINDOW=2m", "RELAY_MAX_IN_FLIGHT=1")
	failing := startFailing(t, program, "failing")
	idle := startNode(t, program, "idle")
	api := fakeapi.New("key-of-the-tests")
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	expecting := startNode(t, program, "expecting", "RELAY_EXPECT=true", "RELAY_EXPECT_AFTER=1s", "RELAY_EXPECT_GIVE_UP=2s", "RELAY_VERIFY=flag",
		"APIXO_API_KEY=key-of-the-tests", "APIXO_BASE_URL="+server.URL)
	api.Default(expecting.status)
	// Duplicates of others would be taken for webhooks that have come after all.
	expecting.job = "apixo-relay-expecting"
	expecting.origin = startOrigin(t)
	archive := startArchive(t, program, "archive", expecting)
	begun := time.Now()
	p := startPrometheus(t, hub, busy, outbox, troubled, failing, idle, expecting, archive)
	// A little of each state, for the picture.
	linger := func(d time.Duration) {
		if *update {
			time.Sleep(d)
		}
	}

	linger(10 * time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	var senders sync.WaitGroup
	end := func() { cancel(); senders.Wait() }
	t.Cleanup(end)
	senders.Go(func() { traffic(ctx, 20*time.Millisecond, busy.mixed) })
	senders.Go(func() { traffic(ctx, 40*time.Millisecond, outbox.mixed) })
	senders.Go(func() { traffic(ctx, 50*time.Millisecond, expecting.expecting) })

	p.fires(t, "busy", "ApixoRelayQuarantineGrowing", "ApixoRelayConflicts", "ApixoRelayDuplicates", "ApixoRelayRejecting", "ApixoRelayUnauthorized")
	p.fires(t, "troubled", "ApixoRelayWindowTooShort")
	p.quiet(t, "busy", "ApixoRelayNotReady", "ApixoRelayBrokerAway", "ApixoRelayRefusing", "ApixoRelayTurningAway", "ApixoRelayDown")
	p.fires(t, "", "ApixoRelayDeliveriesLost")
	p.fires(t, "expecting", "ApixoRelayTasksMissing", "ApixoRelayForgedWebhooks", "ApixoRelayNotVerified")
	p.quiet(t, "expecting", "ApixoRelayAPIKeyRefused", "ApixoRelayAPIAway")
	p.fires(t, "archive", "ApixoRelayArchiveFailures")
	p.quiet(t, "archive", "ApixoRelayDown", "ApixoRelayBrokerAway", "ApixoRelayArchiveDown", "ApixoRelayArchiveTargetDown", "ApixoRelayArchiveLate")
	linger(40 * time.Second)
	api.Default(fakeapi.Error(http.StatusUnauthorized, "Invalid API key"))
	p.fires(t, "expecting", "ApixoRelayAPIKeyRefused")
	api.Default(fakeapi.Error(http.StatusServiceUnavailable, "Try again later"))
	p.fires(t, "expecting", "ApixoRelayAPIAway")
	api.Default(expecting.status)

	trouble, endTrouble := context.WithCancel(ctx)
	var more sync.WaitGroup
	more.Go(func() { traffic(trouble, 50*time.Millisecond, troubled.troubled) })
	p.fires(t, "troubled", "ApixoRelayTurningAway", "ApixoRelayUnauthorized", "ApixoRelayCallbackLag", "ApixoRelayOverloaded")
	linger(10 * time.Second)
	endTrouble()
	more.Wait()

	p.ends(t, "expecting", "ApixoRelayAPIKeyRefused", "ApixoRelayAPIAway")
	hub.stop(t)
	p.fires(t, "hub", "ApixoRelayDown")
	p.fires(t, "busy", "ApixoRelayNotReady", "ApixoRelayBrokerAway", "ApixoRelayRefusing")
	p.fires(t, "outbox", "ApixoRelayBrokerAway", "ApixoRelayOutboxWaiting", "ApixoRelayOutboxFilling")
	p.quiet(t, "outbox", "ApixoRelayNotReady", "ApixoRelayRefusing")
	linger(20 * time.Second)
	archive.stop(t)
	p.fires(t, "archive", "ApixoRelayArchiveDown")
	p.quiet(t, "archive", "ApixoRelayDown")
	hub.start(t)
	p.ends(t, "hub", "ApixoRelayDown")
	p.ends(t, "busy", "ApixoRelayNotReady", "ApixoRelayBrokerAway", "ApixoRelayRefusing")
	p.ends(t, "outbox", "ApixoRelayBrokerAway", "ApixoRelayOutboxWaiting", "ApixoRelayOutboxFilling")
	linger(20 * time.Second)

	// It is unhealthy for 3 s.
	broken, endBroken := context.WithCancel(ctx)
	more.Go(func() { traffic(broken, 10*time.Millisecond, failing.mixed) })
	p.fires(t, "failing", "ApixoRelayUnhealthy", "ApixoRelayDown")
	endBroken()
	more.Wait()

	const started = `process_start_time_seconds{instance="troubled"}`
	for range 3 {
		before := p.query(t, started)
		troubled.stop(t)
		troubled.start(t)
		await(t, "the start is seen", func() bool {
			now := p.query(t, started)
			return len(now) == 1 && now[0].Points[0].value > before[0].Points[0].value
		})
	}
	p.fires(t, "troubled", "ApixoRelayRestarting")
	linger(10 * time.Second)

	t.Run("idle", func(t *testing.T) {
		if noise := p.queryRange(t, `ALERTS{instance="idle"}`, begun, time.Now(), interval); len(noise) > 0 {
			t.Errorf("an idle relay has alerts: %v", noise)
		}
	})
	t.Run("metrics", p.hasMetrics)
	t.Run("dashboard", func(t *testing.T) { p.dashboard(t, begun) })
	end()
}

func (p *prometheus) fires(t *testing.T, instance string, names ...string) {
	t.Helper()
	for _, name := range names {
		await(t, name+" fires for "+instance, func() bool { return p.firing(t, instance, name) })
	}
}

func (p *prometheus) ends(t *testing.T, instance string, names ...string) {
	t.Helper()
	for _, name := range names {
		await(t, name+" ends for "+instance, func() bool { return !p.firing(t, instance, name) })
	}
}

func (p *prometheus) quiet(t *testing.T, instance string, names ...string) {
	t.Helper()
	for _, name := range names {
		if p.firing(t, instance, name) {
			t.Errorf("%s fires for %s", name, instance)
		}
	}
}

func (p *prometheus) firing(t *testing.T, instance, name string) bool {
	t.Helper()
	return slices.ContainsFunc(p.alerts(t), func(a alert) bool {
		return a.State == "firing" && a.Labels["alertname"] == name && a.Labels["instance"] == instance
	})
}

// hasMetrics: a relay or an archive has each metric that an alert asks for.
func (p *prometheus) hasMetrics(t *testing.T) {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Query string }
		}
	}
	p.ask(t, "/api/v1/rules", nil, &data)
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			metrics := matches(r.Query, `\b((?:apixo_relay|process|go)_\w+|up\b)`)
			if metrics == nil {
				t.Errorf("%s asks for no metric that is known: %s", r.Name, r.Query)
			}
			for _, m := range metrics {
				if len(p.query(t, `last_over_time(`+m+`{instance=~"idle|archive"}[10m])`)) == 0 {
					t.Errorf("%s asks for %s, which a relay does not have", r.Name, m)
				}
			}
			// Values of labels, which the relay has from its start.
			for _, matcher := range regexp.MustCompile(`(\w+)\{(problem|outcome|result)=~?"([^"]+)"`).FindAllStringSubmatch(r.Query, -1) {
				for value := range strings.SplitSeq(matcher[3], "|") {
					if len(p.query(t, fmt.Sprintf(`%s{instance="idle",%s="%s"}`, matcher[1], matcher[2], value))) == 0 {
						t.Errorf("%s asks for the %s %q, which a relay does not have", r.Name, matcher[2], value)
					}
				}
			}
		}
	}
}

// grafana is what counts here of the dashboard.
type grafana struct {
	Panels      []panel
	Annotations struct{ List []struct{ Name, Expr string } }
	Templating  struct {
		List []struct {
			Name  string
			Query any
		}
	}
}

type panel struct {
	Title, Type string
	GridPos     struct{ W int }
	FieldConfig struct {
		Defaults struct {
			Unit       string
			Custom     struct{ Stacking struct{ Mode string } }
			Thresholds struct{ Steps []step }
			Mappings   []any
		}
	}
	Targets []struct {
		Expr, LegendFormat string
		Instant            bool
	}

	series []series // of all targets
}

type step struct {
	Value *float64
	Color string
}

// dashboard evaluates each query as Grafana would, with all relays chosen.
func (p *prometheus) dashboard(t *testing.T, begun time.Time) {
	var board grafana
	if err := json.Unmarshal([]byte(read(t, relaytest.Deploy("grafana", "dashboards", "apixo-relay.json"))), &board); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	chosen := strings.NewReplacer("$job", ".*", "$instance", ".*", "$__rate_interval", "10s", "$__range", fmt.Sprintf("%.0fs", now.Sub(begun).Seconds()))
	for i := range board.Panels {
		panel := &board.Panels[i]
		for _, target := range panel.Targets {
			expr := chosen.Replace(target.Expr)
			var found []series
			if target.Instant {
				found = p.query(t, expr)
			} else {
				found = p.queryRange(t, expr, begun, now, max(interval, now.Sub(begun)/120))
			}
			if len(found) == 0 {
				t.Errorf("%s: nothing was found for %s", panel.Title, expr)
			}
			for _, s := range found {
				s.Labels["legend"] = legend(target.LegendFormat, s.Labels)
				panel.series = append(panel.series, s)
			}
		}
	}
	for _, a := range board.Annotations.List {
		if len(p.queryRange(t, chosen.Replace(a.Expr), begun, now, interval)) == 0 {
			t.Errorf("nothing was found for the annotation %s: %s", a.Name, a.Expr)
		}
	}
	for _, v := range board.Templating.List {
		if v.Name == "datasource" {
			continue
		}
		ask := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Query.(map[string]any)["query"].(string))
		var values []string
		p.ask(t, "/api/v1/label/"+ask[2]+"/values", url.Values{"match[]": {chosen.Replace(ask[1])}}, &values)
		if len(values) == 0 {
			t.Errorf("the variable %s has no values", v.Name)
		}
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(relaytest.Deploy("grafana", "dashboard.svg"), draw(board.Panels, begun, now), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// legend is a format such as {{instance}} with labels.
func legend(format string, labels map[string]string) string {
	return regexp.MustCompile(`\{\{(\w+)\}\}`).ReplaceAllStringFunc(format, func(name string) string { return labels[strings.Trim(name, "{}")] })
}
