package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

var update = flag.Bool("update", false, "bring the page of settings to those of package config")

// The settings on their page are the program's.
func TestReadmeSettings(t *testing.T) {
	const file = "../../relay/config/README.md"
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), "<!-- settings:")
	comment, rest, ok2 := strings.Cut(rest, "-->\n")
	_, after, ok3 := strings.Cut(rest, "<!-- /settings -->")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("%s has no place for the settings", file)
	}
	want := before + "<!-- settings:" + comment + "-->\n" + settingsTable() + "<!-- /settings -->" + after
	if want == string(readme) {
		return
	}
	if !*update {
		t.Fatalf("the settings in %s are not those of package config: run this test with -update", file)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func settingsTable() string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, v := range config.Variables() {
		name := "`" + v.Name + "`"
		if v.Secret {
			name += ", `" + v.Name + "_FILE`"
		}
		value := "–"
		if v.Default != "" {
			value = "`" + v.Default + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, value, strings.ReplaceAll(v.Doc, "|", `\|`))
	}
	return b.String()
}
