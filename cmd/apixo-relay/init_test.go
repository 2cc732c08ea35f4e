package main

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What packages make before main stays with every relay, whether or not it is ever used there.
// Expressions that count (x{1,200}) took two of the seven megabytes of an idle one.
func TestPackagesMakeLittleAtTheStart(t *testing.T) {
	t.Parallel()
	const limit = 128 << 10
	cmd := exec.Command(programIn(t, t.TempDir()), "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1", "RELAY_DATA_DIR="+t.TempDir())
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err, trace.String())
	}
	// runtime, "GODEBUG": init PACKAGE @TIME ms, DURATION ms clock, BYTES bytes, ALLOCATIONS allocs
	own := regexp.MustCompile(`(?m)^init github\.com/apixo-relay/apixo-relay/(\S+) .* (\d+) bytes,`).FindAllStringSubmatch(trace.String(), -1)
	if len(own) == 0 {
		t.Fatalf("no package of this module among:\n%s", trace.String())
	}
	for _, match := range own {
		if bytes, err := strconv.Atoi(match[2]); err != nil || bytes > limit {
			t.Errorf("%s makes %s bytes before the program starts, %d may be", match[1], match[2], limit)
		}
	}
}
