package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// roomyHeap is up to where the heap may grow before garbage is collected, in
	// bytes, however little of it is in use. Next to nothing outlives its webhook: by
	// its rule of twice what is in use alone, the collector would run thirty times a
	// second over the same few megabytes, and take a tenth of the time.
	roomyHeap = 10 << 20
	// The percentage that the collector starts with makes its smallest heap, of 4 MiB
	// at 100, a roomy one. More than maxPercent would gain little.
	startPercent = 100 * roomyHeap / (4 << 20)
	maxPercent   = 400
)

// collectSeldom keeps the collector's percentage at what fits roomyHeap, and at
// its default of 100 where more than half of that is in use.
func collectSeldom() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := startPercent
	var tune func()
	tune = func() {
		metrics.Read(live)
		inUse := max(live[0].Value.Uint64(), 1)
		wanted := min(max(int(100*roomyHeap/inUse)-100, 100), maxPercent)
		if wanted < percent*9/10 || wanted > percent*11/10 { // each change stops the world for a moment
			percent = wanted
			debug.SetGCPercent(percent)
		}
		afterCollection(tune)
	}
	debug.SetGCPercent(percent)
	afterCollection(tune)
}

// afterCollection calls a function after the next collection.
func afterCollection(f func()) {
	runtime.AddCleanup(new([16]byte), func(f func()) { f() }, f)
}
