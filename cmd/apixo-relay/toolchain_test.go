package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// What is built is tried with the same Go version everywhere.
func TestToolchainIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		content, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	lines := regexp.MustCompile(`(?m)^(?:go|toolchain) \S+$`)
	want := lines.FindAllString(read("go.mod"), -1)
	if len(want) != 2 {
		t.Fatalf("go.mod names %q: a version of the language and a toolchain are wanted", want)
	}
	for _, file := range []string{"relay/test/interop/go.mod", "relay/test/browser/go.mod", "relay/test/archive/go.mod", "deploy/test/go.mod"} {
		if got := lines.FindAllString(read(file), -1); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s names %q, and go.mod %q", file, got, want)
		}
	}
}
