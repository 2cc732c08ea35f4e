package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

var (
	rulesFile = relaytest.Deploy("prometheus", "apixo-relay.rules.yaml")
	testsFile = relaytest.Deploy("prometheus", "apixo-relay.rules.test.yaml")
)

// TestPromtool: the rules and the configuration are what Prometheus takes, and each
// alert comes and goes as its unit tests say.
func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool := tool(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", rulesFile},
		{"test", "rules", testsFile},
		{"check", "config", relaytest.Deploy("prometheus", "prometheus.yaml")},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = filepath.Dir(rulesFile)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestEachAlert: each alert has a unit test that fires it and one in which it does not,
// and a section of the runbook that its URL leads to; and no section is about no alert.
func TestEachAlert(t *testing.T) {
	t.Parallel()
	tests, runbook := read(t, testsFile), read(t, relaytest.Deploy("RUNBOOK.md"))
	fires := matches(tests, `alertname: (\w+)\n +exp_alerts:\n`)
	quiet := matches(tests, `alertname: (\w+)\}`)
	sections := matches(runbook, `(?m)^### (ApixoRelay\w+)$`)
	alerts := matches(read(t, rulesFile), `(?m)- alert: (\w+)$`)
	if len(alerts) < 10 {
		t.Fatalf("%d alerts were found", len(alerts))
	}
	for _, a := range alerts {
		if !slices.Contains(fires, a) || !slices.Contains(quiet, a) {
			t.Errorf("%s needs a unit test that fires it, and one that does not", a)
		}
		if !slices.Contains(sections, a) {
			t.Errorf("%s has no section in the runbook", a)
		}
		url := "runbook_url: https://github.com/apixo-relay/apixo-relay/blob/main/deploy/RUNBOOK.md#" + strings.ToLower(a) + "\n"
		if strings.Count(read(t, rulesFile), url) != 1 {
			t.Errorf("%s does not lead to its section of the runbook", a)
		}
	}
	for _, s := range sections {
		if !slices.Contains(alerts, s) {
			t.Errorf("the runbook explains %s, which is no alert", s)
		}
	}
}

// TestRunbookLinks: what the dashboard and the runbook itself point to is there.
func TestRunbookLinks(t *testing.T) {
	t.Parallel()
	runbook := read(t, relaytest.Deploy("RUNBOOK.md"))
	var anchors []string
	for _, title := range matches(runbook, `(?m)^#+ (.*)$`) {
		anchor := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(title), "")
		anchors = append(anchors, strings.ReplaceAll(anchor, " ", "-"))
	}
	links := append(
		matches(runbook, `\]\(#([^)]*)\)`),
		matches(read(t, relaytest.Deploy("grafana", "dashboards", "apixo-relay.json")), `RUNBOOK\.md#([^"]*)"`)...)
	if len(links) < 20 {
		t.Errorf("%d links were found", len(links))
	}
	for _, l := range links {
		if !slices.Contains(anchors, l) {
			t.Errorf("the runbook has no section #%s", l)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// matches are the first groups of all matches.
func matches(text, pattern string) (found []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}
