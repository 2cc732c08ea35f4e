package leaktest

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A goroutine that ends late is waited for, and one that does not end is told.
func TestFind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	end := make(chan struct{})
	go waitFor(end)
	if err := find(0, before); err == nil || !strings.Contains(err.Error(), "leaktest.waitFor") {
		t.Fatalf("a goroutine that does not end is not told: %v", err)
	}
	time.AfterFunc(time.Second, func() { close(end) }) // longer than goleak waits
	if err := find(patience, before); err != nil {
		t.Fatalf("a goroutine that ends late is taken for a leak: %v", err)
	}
}

func waitFor(end <-chan struct{}) { <-end }
