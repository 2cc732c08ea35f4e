package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what a process has used of the CPU so far, user and system, all of
// its threads; false where that cannot be known. The clock is that of
// clock_getcpuclockid(3): /proc/PID/stat tells the same in steps of 10 ms, which
// are too long for a process that hardly does anything.
func cpuTime(pid int) (time.Duration, bool) {
	const scheduler = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|scheduler), &t)
	return time.Duration(t.Nano()), err == nil && pid > 0
}
