package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// What Linux tells of processes and of the machine is read from /proc. Where
// there is none, it is not measured.

// clockTick is the unit of CPU times in /proc: USER_HZ, which is 100 on all
// platforms that Go supports.
const clockTick = time.Second / 100

// cpuTime is what a process has used of the CPU so far, user and system, all of
// its threads; false where that cannot be known.
func cpuTime(pid int) (time.Duration, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name of the program, in parentheses, may contain anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const user, system = 14 - 3, 15 - 3 // of proc(5), from the third on
	if len(fields) <= system {
		return 0, false
	}
	ticks, err := strconv.ParseInt(fields[user], 10, 64)
	more, err2 := strconv.ParseInt(fields[system], 10, 64)
	return time.Duration(ticks+more) * clockTick, err == nil && err2 == nil
}

// memory is what a process has of the machine's memory, in MiB: VmRSS now, VmHWM
// at most so far.
func memory(pid int, what string) number {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return notMeasured
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, what+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			if err != nil {
				return notMeasured
			}
			return number(kib / 1024)
		}
	}
	return notMeasured
}

// cpuModel and kernel are names, as far as they can be known.
func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "CPU of unknown model"
}

func kernel() string {
	name := runtime.GOOS + "/" + runtime.GOARCH
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		name += " " + strings.TrimSpace(string(release))
	}
	return name
}
