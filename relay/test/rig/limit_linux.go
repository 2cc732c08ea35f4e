package rig

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LimitFiles makes the running process's writes fail that would make a file
// larger than that (EFBIG), as those to a failing disk do.
func (p *Process) LimitFiles(bytes uint64) error {
	limit := unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		return fmt.Errorf("the files of %s cannot be limited: %w", p.name, err)
	}
	return nil
}

// Descriptors is how many files and connections the running process has open.
func (p *Process) Descriptors() (int, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("the descriptors of %s are not known: %w", p.name, err)
	}
	return len(open), nil
}

// LimitDescriptors makes the running process unable to have more of them.
func (p *Process) LimitDescriptors(n int) error {
	limit := unix.Rlimit{Cur: uint64(n), Max: uint64(n)}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		return fmt.Errorf("the descriptors of %s cannot be limited: %w", p.name, err)
	}
	return nil
}

// PeakMemory is how many bytes of memory the running process had at the most
// (its resident set).
func (p *Process) PeakMemory() (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("the memory of %s is not known: %w", p.name, err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
	return kib << 10, err
}

// CPU is how much of the processors' time the running process has had.
func (p *Process) CPU() (time.Duration, error) { return processCPU(p.cmd.Process.Pid) }

// OwnCPU is how much this process has had.
func OwnCPU() (time.Duration, error) { return processCPU(os.Getpid()) }

func processCPU(id int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return 0, fmt.Errorf("what a process has worked is not known: %w", err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold anything
	return ticks(strings.Fields(rest), 11, 12)
}

// MachineCPU is how much of the processors' time this machine's programs have had
// together.
func MachineCPU() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("what this machine has worked is not known: %w", err)
	}
	return ticks(strings.Fields(string(stat)), 1, 2, 3) // user, nice, system
}

// ticks adds up fields that count hundredths of a second, as /proc does (USER_HZ).
func ticks(fields []string, at ...int) (sum time.Duration, err error) {
	for _, i := range at {
		if i >= len(fields) {
			return 0, fmt.Errorf("there is no field %d in %v", i, fields)
		}
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum, nil
}

// OwnDescriptors makes sure that this process may have so many, as far as it can.
func OwnDescriptors(n int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur >= uint64(n) {
		return nil
	}
	limit.Cur, limit.Max = uint64(n), max(limit.Max, uint64(n))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("there cannot be %d descriptors: %w", n, err)
	}
	return nil
}
