package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// roomyHeap is up to where the heap may grow before garbage is collected, in
// bytes, however little of it is in use. Next to nothing outlives its webhook: by
// its rule of twice what is in use alone, the collector would run thirty times a
// second over the same few megabytes, and take a seventh of the time.
const roomyHeap = 10 << 20

// collectSeldom keeps the collector's percentage at what fits roomyHeap, and at
// its default of 100 where more than half of that is in use.
func collectSeldom() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := 100
	var tune func()
	tune = func() {
		metrics.Read(live)
		wanted := min(max(int(roomyHeap*100/max(live[0].Value.Uint64(), 1))-100, 100), 400)
		if wanted < percent*9/10 || wanted > percent*11/10 {
			percent = wanted
			debug.SetGCPercent(percent)
		}
		afterCollection(tune)
	}
	afterCollection(tune)
}

// afterCollection calls a function after the next collection.
func afterCollection(f func()) {
	runtime.AddCleanup(new([16]byte), func(f func()) { f() }, f)
}
