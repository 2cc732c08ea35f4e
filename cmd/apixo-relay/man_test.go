package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra/doc"
)

var manFolder = flag.String("man", "", "write the man pages into this folder, as releases have them")

// Each command has a man page. It is made here, so that the program need not be able to.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir := *manFolder
	if dir == "" {
		dir = t.TempDir()
	}
	root := rootCommand(cliEnv{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard})
	root.DisableAutoGenTag = true
	root.InitDefaultCompletionCmd()
	// The date is that of SOURCE_DATE_EPOCH, so that the same commit gives the same pages.
	if err := doc.GenManTree(root, &doc.GenManHeader{Title: "APIXO-RELAY", Section: "1", Source: "apixo-relay", Manual: "apixo-relay"}, dir); err != nil {
		t.Fatal(err)
	}
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		page, err := os.ReadFile(filepath.Join(dir, "apixo-relay-"+c.Name()+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, section := range []string{".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"} {
			if !strings.Contains(string(page), section) {
				t.Errorf("the page of %s has no %s", c.Name(), section)
			}
		}
		if c.Example != "" && !strings.Contains(string(page), ".SH EXAMPLE") {
			t.Errorf("the page of %s has no example", c.Name())
		}
	}
}
