package archive

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	// The cache of test results must see when the program that is run has changed.

	_ "github.com/apixo-relay/apixo-relay/relay"
	_ "github.com/apixo-relay/apixo-relay/relay/ops/archive"
	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

const (
	// patience is how long something may take that has to happen, on a machine that is
	// busy with other tests.
	patience = 2 * time.Minute
	// parallel is how many tests run at once: they mostly wait.
	parallel = 8
)

// programs are the relay's and a broker, built at the first use.
var programs = sync.OnceValues(func() (*rig.Programs, error) {
	if program := os.Getenv(programVariable); program != "" {
		p := new(rig.Programs)
		p.UseRelay(program)
		return p, nil
	}
	p, err := rig.BuildIn(context.Background(), relaytest.Root)
	if err == nil {
		built = p
	}
	return p, err
})

// built are the programs, if they were.
var built *rig.Programs

// versitygw is the path of the S3 server's program, which the go command builds and keeps.
var versitygw = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "tool", "-n", "versitygw").Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("go tool versitygw: %w\n%s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
})

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil {
		panic(err)
	}
	code := leaktest.Run(m)
	if built != nil {
		_ = built.Remove() // what is left there harms nobody
	}
	os.Exit(code)
}

// newRig makes a rig, of programs if it is to run any, that is closed when the test has ended.
func newRig(t testing.TB, p *rig.Programs) *rig.Rig {
	t.Helper()
	r, err := rig.New(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// limited is the test's context, which ends before the test's patience with what is asked does.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// await asks until it is so.
func await(t testing.TB, otherwise string, ask func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ask(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(otherwise)
		}
	}
}
