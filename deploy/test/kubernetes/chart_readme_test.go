package kubernetes_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// The table of values in the chart's README is made of values.yaml and its comments.
func TestChartReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(relaytest.Deploy("helm", "apixo-relay", "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| value | default | meaning |\n|---|---|---|\n")
	describe(t, &table, "", document.Content[0])

	const begin, end = "<!-- made from values.yaml -->\n", "<!-- end -->"
	path := relaytest.Deploy("helm", "apixo-relay", "README.md")
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(have), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatal("the README has no place for it")
	}
	want := before + begin + table.String() + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(have) {
		t.Error("the table in the README is older than values.yaml: run 'go test ./kubernetes -run TestChart -update' in deploy/test")
	}
}

// describe writes a line for each value that is no group of others, or has a comment.
func describe(t *testing.T, table *strings.Builder, group string, values *yaml.Node) {
	t.Helper()
	for i := 0; i < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		name := group + key.Value
		meaning := ""
		for line := range strings.Lines(key.HeadComment) {
			if comment, ok := strings.CutPrefix(line, "# -- "); ok {
				meaning = strings.TrimSpace(comment)
			}
		}
		isGroup := value.Kind == yaml.MappingNode && len(value.Content) > 0
		if isGroup && name != "resources" && !strings.HasSuffix(name, ".resources") {
			if meaning != "" {
				table.WriteString("| `" + name + "` | | " + meaning + " |\n")
			}
			describe(t, table, name+".", value)
			continue
		}
		var decoded any
		if err := value.Decode(&decoded); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(decoded)
		if err != nil {
			t.Fatal(err)
		}
		shown := strings.Trim(string(text), `"`)
		if shown = strings.ReplaceAll(shown, "|", `\|`); shown == "" {
			shown = "–"
		} else {
			shown = "`" + shown + "`"
		}
		table.WriteString("| `" + name + "` | " + shown + " | " + meaning + " |\n")
	}
}
