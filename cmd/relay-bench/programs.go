package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
)

// findProgram looks for the program that a flag names.
func findProgram(flag, name string) (string, error) {
	program, err := exec.LookPath(name)
	if err == nil {
		program, err = filepath.Abs(program) // it runs in another folder
	}
	if err != nil {
		return "", usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	return program, nil
}

// withRelay does something with the relay and a temporary folder, which is
// removed in the end.
func withRelay(ctx context.Context, o options, do func(program, dir string) error) (err error) {
	// What the load generator allocates is soon garbage, and the cores are
	// better left to what is measured than spent on collecting it often.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	if o.relay != "" {
		if o.relay, err = findProgram("--relay", o.relay); err != nil {
			return err
		}
	}
	dir, err := workFolder(o.dir)
	if err != nil {
		return fmt.Errorf("no temporary folder: %w; name a folder that this user may write with --dir", err)
	}
	defer func() {
		if removeErr := os.RemoveAll(dir); err == nil && removeErr != nil {
			err = fmt.Errorf("the temporary folder is left: %w", removeErr)
		}
	}()
	if o.relay == "" {
		o.progress.say("building the relay")
		if o.relay, err = build(ctx, dir, "apixo-relay"); err != nil {
			return err
		}
	}
	return do(o.relay, dir)
}

// build builds a program of this module as its releases are built.
func build(ctx context.Context, dir, name string) (string, error) {
	program := filepath.Join(dir, filepath.Base(name))
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "github.com/apixo-relay/apixo-relay/cmd/"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s cannot be built: %w; run this inside the relay's module, or name a program with --relay and --peer\n%s", name, err, bytes.TrimSpace(out))
	}
	return program, nil
}
