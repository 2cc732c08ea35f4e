//go:build !race

package broker

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server/pse"
)

// nats-server cannot read what it samples, and so has given that up.
func TestServerDoesNotSample(t *testing.T) {
	t.Parallel()
	var cpu float64
	var resident, virtual int64
	if err := pse.ProcUsage(&cpu, &resident, &virtual); err == nil {
		t.Errorf("it goes on reading %q", procStatFile)
	}
}
