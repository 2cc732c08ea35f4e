package rig

import (
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed testdata/step.go
var stepSource []byte

// BuildWithClocks is [Build] for programs whose clock can be stepped while they
// run, by a [Clock]. They are built with a changed package time, which takes a
// minute the first time, since all that they consist of depends on it.
func BuildWithClocks(ctx context.Context) (*Programs, error) {
	dir, err := os.MkdirTemp("", "rig-clock-")
	if err != nil {
		return nil, fmt.Errorf("no folder for package time: %w", err)
	}
	defer os.RemoveAll(dir)
	overlay, err := steppedTime(ctx, dir)
	if err != nil {
		return nil, err
	}
	return programsOf(ctx, "", "-overlay", overlay)
}

// steppedTime writes a package time whose Now can be stepped, and returns the
// file that go build takes it from.
func steppedTime(ctx context.Context, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("the Go sources are not found: %w", err)
	}
	pkg := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	source, err := os.ReadFile(filepath.Join(pkg, "time.go"))
	if err != nil {
		return "", err
	}
	const truly, stepped = "sec, nsec, mono := runtimeNow()", "sec, nsec, mono := steppedNow()"
	if n := strings.Count(string(source), truly); n != 1 {
		return "", fmt.Errorf("this version of Go has a package time in which %q stands %d times", truly, n)
	}
	replaced := make(map[string]string)
	for name, text := range map[string][]byte{
		"time.go":     []byte(strings.Replace(string(source), truly, stepped, 1)),
		"rig_step.go": stepSource,
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return "", err
		}
		replaced[filepath.Join(pkg, name)] = file
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, overlay, 0o600)
}

// Clock steps the time of day of those processes that have its variable.
type Clock struct {
	file *os.File
}

// NewClock makes a clock that goes right. It is for programs of [BuildWithClocks].
func (r *Rig) NewClock() (*Clock, error) {
	file, err := os.CreateTemp(r.dir, "clock-")
	if err != nil {
		return nil, fmt.Errorf("no clock: %w", err)
	}
	r.onClose(file)
	c := &Clock{file: file}
	return c, c.Set(0)
}

// Environ is the variable that makes a process follow the clock.
func (c *Clock) Environ() string { return "RIG_CLOCK=" + c.file.Name() }

// Set makes the clock wrong by that much, to the second, at once.
func (c *Clock) Set(wrong time.Duration) error {
	seconds := binary.NativeEndian.AppendUint64(nil, uint64(wrong/time.Second))
	if _, err := c.file.WriteAt(seconds, 0); err != nil {
		return fmt.Errorf("the clock cannot be set: %w", err)
	}
	return nil
}
