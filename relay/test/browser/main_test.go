package browser

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	// The cache of test results must see when the program that is run has changed.
	_ "github.com/apixo-relay/apixo-relay/relay"
	_ "github.com/apixo-relay/apixo-relay/relay/ops/ui"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

const (
	// patience is how long something may take that has to happen, on a machine that is
	// busy with other tests.
	patience = 2 * time.Minute
	// parallel is how many tests run at once: they mostly wait.
	parallel = 4
)

// program is the path of the relay's program, built as the Dockerfile does.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "relay-browser-")
	if err != nil {
		return "", err
	}
	folder.Store(&dir)
	path := filepath.Join(dir, "apixo-relay")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/apixo-relay")
	cmd.Dir = relaytest.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// folder is that of the program, if it was built.
var folder atomic.Pointer[string]

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := closeBrowsers(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if dir := folder.Load(); dir != nil {
		_ = os.RemoveAll(*dir) // what is left there harms nobody
	}
	os.Exit(code)
}
