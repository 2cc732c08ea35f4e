package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// NoRevisionError says that the history of this repository does not have a revision: there
// is no git, no repository, or a clone without all of its history. It is an
// [errors.ErrUnsupported].
type NoRevisionError struct {
	// Revision is a tag or a commit.
	Revision string
	// Err is what git says.
	Err error
}

func (e *NoRevisionError) Error() string {
	return fmt.Sprintf("the history of this repository does not have %s (%v): git fetch --unshallow --tags brings what a shallow clone leaves out", e.Revision, e.Err)
}

// Unwrap is what git says, and that this clone cannot build the revision.
func (e *NoRevisionError) Unwrap() []error { return []error{errors.ErrUnsupported, e.Err} }

// Commit is the hash of a revision in the history of the repository in dir. The error is a
// [*NoRevisionError] if it is not there.
func Commit(ctx context.Context, dir, revision string) (string, error) {
	out, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	if err != nil {
		return "", &NoRevisionError{Revision: revision, Err: err}
	}
	return strings.TrimSpace(out), nil
}

// BuildVersion builds the relay of another revision, from the history of the repository in
// dir, or of the files there if the revision is empty. It returns the program's file, which
// calls itself by the version's name if that version can be told. [Programs.Remove] deletes it.
func (p *Programs) BuildVersion(ctx context.Context, dir, revision, name string) (file string, err error) {
	file = filepath.Join(p.dir, "apixo-relay-"+name)
	if revision != "" {
		commit, err := Commit(ctx, dir, revision)
		if err != nil {
			return "", err
		}
		files := filepath.Join(p.dir, "files-"+name)
		defer os.RemoveAll(files) // a leftover goes with the programs
		if err := checkOut(ctx, dir, commit, files); err != nil {
			return "", err
		}
		dir = files
	}
	// Without the folder's name in it, what is compiled is the same next time.
	return file, build(ctx, dir, file, relayPackage, "-trimpath", "-ldflags", "-s -w -X main.linkedVersion="+name)
}

// checkOut writes the files of a commit, and leaves the repository as it is.
func checkOut(ctx context.Context, dir, commit, to string) error {
	packed := to + ".tar"
	defer os.Remove(packed)
	top, err := git(ctx, dir, "rev-parse", "--show-toplevel") // of a folder below it, only that would be packed
	if err != nil {
		return err
	}
	if _, err := git(ctx, strings.TrimSpace(top), "archive", "--output="+packed, commit); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "tar", "-xf", packed, "-C", to).CombinedOutput(); err != nil {
		return fmt.Errorf("the files of %s cannot be unpacked: %w\n%s", commit, err, out)
	}
	return nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}
