package check

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A server that was killed is away long before the broker calls it offline.
func TestLagging(t *testing.T) {
	t.Parallel()
	away, behind := lagging(&jetstream.ClusterInfo{Replicas: []*jetstream.PeerInfo{
		{Name: "well", Current: true, Active: time.Second},
		{Name: "killed", Current: true, Active: 4 * time.Second},
		{Name: "offline", Offline: true},
		{Name: "catching up", Active: time.Second},
	}})
	if !slices.Equal(away, []string{"killed", "offline"}) || !slices.Equal(behind, []string{"catching up"}) {
		t.Errorf("%q are away and %q behind", away, behind)
	}
}
