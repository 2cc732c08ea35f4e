package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// What Linux tells of processes and of the machine is read from /proc. Where
// there is none, it is not measured.

// memory is what a process has of the machine's memory, in MiB: VmRSS all of
// it, RssAnon what is its own.
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

// system is the kernel's name without its release, which is this machine's alone.
func (f facts) system() string {
	name, _, _ := strings.Cut(f.Kernel, " ")
	return name
}
