package rig

import (
	"fmt"

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
