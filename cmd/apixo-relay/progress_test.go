package main

import (
	"io"
	"os"
	"testing"
)

// What is no terminal gets no bar, and a bar that is none takes everything.
func TestProgressIsForTerminals(t *testing.T) {
	t.Parallel()
	file, err := os.Create(t.TempDir() + "/output")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, w := range []io.Writer{io.Discard, file} {
		p := newProgress(w, 10, "things", "doing")
		if p != nil {
			t.Fatal("there is a bar")
		}
		p.set(1, 2)
		p.describe("waiting")
		if p.suspend(w) != w {
			t.Error("lines are written elsewhere")
		}
		p.end()
		p.end()
	}
}
