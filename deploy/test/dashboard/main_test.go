package main

import (
	"bytes"
	"os"
	"testing"
)

// TestCurrent: the file is the one that rows.go describes.
func TestCurrent(t *testing.T) {
	t.Parallel()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, document()) {
		t.Errorf("%s is not what rows.go describes: go run ./dashboard", path)
	}
}

// TestReadable: each panel says what it means, and each row is filled.
func TestReadable(t *testing.T) {
	t.Parallel()
	titles := map[string]bool{}
	for _, r := range rows {
		width := 0
		for _, p := range r.panels {
			width += p.width
			if p.description == "" || p.unit == "" || len(p.queries) == 0 {
				t.Errorf("%s: a description, a unit and a query were expected", p.title)
			}
			if titles[p.title] {
				t.Errorf("two panels are called %s", p.title)
			}
			titles[p.title] = true
		}
		if width%24 != 0 {
			t.Errorf("the panels of %q are %d wide together, a multiple of 24 was expected", r.title, width)
		}
	}
}
