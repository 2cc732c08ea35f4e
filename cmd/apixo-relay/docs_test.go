package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var docsFolder = flag.String("docs", "", "leave the man pages and the completion scripts in this folder, as releases have them")

// completionFiles are the names under which shells look for the scripts.
var completionFiles = map[string]string{
	"bash":       "apixo-relay.bash",
	"zsh":        "_apixo-relay",
	"fish":       "apixo-relay.fish",
	"powershell": "apixo-relay.ps1",
}

// Releases have a man page for each command, and completion scripts. They are made here, so
// that the program need not be able to make man pages.
func TestReleaseDocs(t *testing.T) {
	t.Parallel()
	dir := *docsFolder
	if dir == "" {
		dir = t.TempDir()
	}
	for _, name := range []string{"man", "completions"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeManPages(t, filepath.Join(dir, "man"))
	for shell, name := range completionFiles {
		var script strings.Builder
		if code := run(t.Context(), []string{"completion", shell}, nil, strings.NewReader(""), &script, io.Discard); code != exitDone {
			t.Fatalf("completion %s: exit code %d", shell, code)
		}
		if err := os.WriteFile(filepath.Join(dir, "completions", name), []byte(script.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// cobra puts the description of a flag behind a tab in running text.
var flagEntry = regexp.MustCompile(`(?m)^(?:\.PP\n)?(\\fB-.*)\n\t`)

func writeManPages(t *testing.T, dir string) {
	root := rootCommand(cliEnv{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard})
	root.DisableAutoGenTag = true
	root.InitDefaultCompletionCmd()
	shown := map[string]*cobra.Command{}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		c.Long = markdown(c.Long)
		if c.IsAvailableCommand() || c == root {
			shown[strings.ReplaceAll(c.CommandPath(), " ", "-")] = c
		}
		for _, below := range c.Commands() {
			visit(below)
		}
	}
	visit(root)
	// The date is SOURCE_DATE_EPOCH, so that the same commit gives the same pages.
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "apixo-relay", Manual: "Commands of apixo-relay"}, dir); err != nil {
		t.Fatal(err)
	}
	for name, c := range shown {
		path := filepath.Join(dir, name+".1")
		page, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		page = flagEntry.ReplaceAll(page, []byte(".TP\n$1\n"))
		if err := os.WriteFile(path, page, 0o644); err != nil {
			t.Fatal(err)
		}
		checkManPage(t, name, string(page), c)
	}
	if pages, err := filepath.Glob(filepath.Join(dir, "*.1")); err != nil || len(pages) != len(shown) {
		t.Errorf("%d pages for %d commands, %v", len(pages), len(shown), err)
	}
}

// checkManPage wants all parts of a command's help in its page.
func checkManPage(t *testing.T, name, page string, c *cobra.Command) {
	t.Helper()
	want := []string{`.TH "` + strings.ToUpper(name) + `" "1"`, ".SH NAME\n" + name + " - ", ".SH SYNOPSIS", ".SH DESCRIPTION"}
	if c.Example != "" {
		want = append(want, ".SH EXAMPLE")
	}
	if c.Name() == "serve" {
		want = append(want, "\n  RELAY_LISTEN_ADDR (127.0.0.1:8720)\n      where webhooks arrive") // as it was written
	}
	for _, part := range want {
		if !strings.Contains(page, part) {
			t.Errorf("the page of %s has no %q", name, part)
		}
	}
	if strings.Contains(page, "\t") {
		t.Errorf("the page of %s has a tab, which looks different in running text on each screen", name)
	}
}

// markdown is help in the form in which man pages are written: what is indented stays as it
// is, line by line.
func markdown(help string) string {
	var b strings.Builder
	inside := false // of what is indented, which goes on after empty lines
	for line := range strings.Lines(help) {
		indented := strings.HasPrefix(line, "  ")
		if indented != inside && strings.TrimSpace(line) != "" {
			b.WriteString("\n")
			inside = indented
		}
		if indented {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return b.String()
}
