package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	relayPackage  = "github.com/apixo-relay/apixo-relay/cmd/apixo-relay"
	serverPackage = "github.com/nats-io/nats-server/v2" // at the version in go.mod
)

// Programs are the executables that rigs run.
type Programs struct {
	dir           string
	relay, server string
}

// Build makes the programs, from a folder inside this module. If the program
// that calls it has the race detector, the relay has it too; the broker, which
// is not what is looked at, never has.
func Build(ctx context.Context) (*Programs, error) { return programsOf(ctx, "") }

// BuildIn is [Build] from outside this module, whose folder it is given.
func BuildIn(ctx context.Context, dir string) (*Programs, error) { return programsOf(ctx, dir) }

// programsOf makes the programs with some flags of go build.
func programsOf(ctx context.Context, dir string, flags ...string) (_ *Programs, err error) {
	to, err := os.MkdirTemp("", "rig-programs-")
	if err != nil {
		return nil, fmt.Errorf("no folder for programs: %w", err)
	}
	p := &Programs{dir: to, relay: filepath.Join(to, "apixo-relay"), server: filepath.Join(to, "nats-server")}
	defer func() {
		if err != nil {
			_ = p.Remove()
		}
	}()
	if err := build(ctx, dir, p.server, serverPackage, flags...); err != nil {
		return nil, err
	}
	if raceDetector {
		flags = append(flags, "-race")
	}
	return p, build(ctx, dir, p.relay, relayPackage, flags...)
}

// Remove deletes the programs.
func (p *Programs) Remove() error { return os.RemoveAll(p.dir) }

func build(ctx context.Context, dir, file, pkg string, flags ...string) error {
	args := append([]string{"build", "-buildvcs=false", "-o", file}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s cannot be built: %w\n%s", pkg, err, out)
	}
	return nil
}

// UseRelay makes rigs run another program as the relay. It must be called before
// the first of them.
func (p *Programs) UseRelay(file string) { p.relay = file }

// Relay is the path of the relay's program.
func (p *Programs) Relay() string { return p.relay }
