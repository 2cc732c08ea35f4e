//go:build unix

package broker

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/apixo-relay/apixo-relay/relay/descriptors"
)

// scarceKind is the variable that tells a child process of the test below what to do.
const scarceKind = "RELAY_TEST_SCARCE_KIND"

// That there are no descriptors at the moment is no fault of the disk: what cannot be
// promised is not, and the store works on when there are some again. A limit is a whole
// process's, so each case has one of its own.
func TestNoDescriptorsAreNoBrokenDisk(t *testing.T) {
	if kind := os.Getenv(scarceKind); kind != "" {
		withoutDescriptors(t, kind)
		return
	}
	t.Parallel()
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()[:len(t.Name())-len("/"+kind)]+"$")
			child.Env = append(os.Environ(), scarceKind+"="+kind)
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func withoutDescriptors(t *testing.T, kind string) {
	b := newFilesBench(t, kind)
	var before unix.Rlimit
	b.must(unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	low := before
	low.Cur = 256
	b.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	for name, do := range map[string]func() error{
		"Commit": func() error { return b.Commit(context.Background(), "S") },
		"Health": b.Health, // which is no reason to end
	} {
		// Names have changed, so that somebody has to look.
		b.must(os.WriteFile(filepath.Join(b.stream, "msgs", name), nil, 0o600))
		var taken []*os.File
		for {
			f, err := os.Open(os.DevNull)
			if errors.Is(err, syscall.EMFILE) {
				break
			}
			b.must(err)
			taken = append(taken, f)
		}
		err := do()
		for _, f := range taken {
			b.must(f.Close())
		}
		if name == "Keep" && !descriptors.IsLimitError(err) || name == "Health" && err != nil {
			t.Errorf("%s without descriptors: %v", name, err)
		}
		b.must(b.Commit(context.Background(), "S"))
		b.must(b.Health())
	}
	b.store()
	b.must(b.Commit(context.Background(), "S"))
}
