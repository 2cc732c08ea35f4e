package natstest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// leakPatience is how long goroutines may take to end after the last test. Those of a
// server whose WaitForShutdown has returned end by themselves (nats-server 2.15.2: a
// store's flushStreamStateLoop, and the clock of package ats, which ticks every 100 ms),
// but on a busy machine, with the race detector, later than goleak alone waits for them.
const leakPatience = 30 * time.Second

// Main is the TestMain of a package whose tests run servers: it fails if the tests fail,
// or if they leave a goroutine that does not end by itself.
func Main(m *testing.M, options ...goleak.Option) {
	code := m.Run()
	if code == 0 {
		if err := leaks(leakPatience, options...); err != nil {
			fmt.Fprintf(os.Stderr, "goleak: errors on successful test run: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// leaks finds the goroutines that are left when the time is over; it returns at once
// when none is.
func leaks(patience time.Duration, options ...goleak.Option) error {
	options = append(options,
		// A stream that is made while its server ends keeps these (nats-server 2.15.2). Of a
		// server that was not ended there are others besides.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
	)
	for start := time.Now(); ; {
		err := goleak.Find(options...) // which waits for half a second itself
		if err == nil || time.Since(start) > patience {
			return err
		}
	}
}
