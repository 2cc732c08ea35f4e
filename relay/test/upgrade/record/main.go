// Command record writes the archive of a version of the relay: see package upgrade.
//
//	go run ./relay/test/upgrade/record v1.1.0            # of the files here, before the tag
//	go run ./relay/test/upgrade/record 3101f3f 3101f3f   # of a tag or a commit
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
	"github.com/apixo-relay/apixo-relay/relay/test/upgrade"
)

// patience is how long it all may take, on a machine that compiles the program first.
const patience = 10 * time.Minute

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage, in the repository's root: go run ./relay/test/upgrade/record NAME [REVISION]")
		os.Exit(2)
	}
	revision := ""
	if len(os.Args) == 3 {
		revision = os.Args[2]
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := record(ctx, os.Args[1], revision); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func record(ctx context.Context, name, revision string) (err error) {
	programs, err := rig.Build(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, programs.Remove()) }()
	program, err := programs.BuildVersion(ctx, ".", revision, name)
	if err != nil {
		return err
	}
	r, err := rig.New(programs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	dir, err := r.NewFolder("archive")
	if err != nil {
		return err
	}
	if _, err := upgrade.Record(ctx, r, program, name, dir, upgrade.Settings()...); err != nil {
		return err
	}
	file := filepath.Join("relay", "test", "upgrade", "testdata", name+".tar.gz")
	if err := upgrade.Pack(dir, file); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err == nil {
		fmt.Printf("%s: %d bytes\n", file, info.Size())
	}
	return err
}
