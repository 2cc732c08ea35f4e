// Package leaktest lets a package's tests fail when they leave goroutines.
//
// It is goleak with patience: goleak alone waits half a second for goroutines that end by
// themselves, which on a busy machine, with the race detector, is too short.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end after the last test.
const patience = 2 * time.Minute

// Main is the TestMain of a package: it fails if the tests fail, or if they leave a goroutine
// that does not end by itself within 30 s.
func Main(m *testing.M, options ...goleak.Option) { os.Exit(Run(m, options...)) }

// Run is [Main] for a TestMain that has something to do after it. It returns the exit code.
func Run(m *testing.M, options ...goleak.Option) (code int) {
	if code = m.Run(); code == 0 {
		if err := find(patience, options...); err != nil {
			fmt.Fprintf(os.Stderr, "goleak: errors on successful test run: %v\n", err)
			code = 1
		}
	}
	return code
}

// find finds the goroutines that are left when the time is over; it returns at once when
// none is.
func find(patience time.Duration, options ...goleak.Option) error {
	for start := time.Now(); ; {
		err := goleak.Find(options...) // which waits for half a second itself
		if err == nil || time.Since(start) > patience {
			return err
		}
	}
}
