package monitoring

import (
	"os"
	"os/exec"
	"testing"
)

// tool is the path of a program of Debian's package prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI_TOOLS") != "":
		t.Fatalf("%s is missing: apt-get install --no-install-recommends prometheus", name)
	default:
		t.Skipf("%s is missing: apt-get install --no-install-recommends prometheus", name)
	}
	return ""
}
