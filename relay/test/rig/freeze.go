//go:build unix

package rig

import (
	"fmt"
	"syscall"
)

// Freeze stops a process as it stands (SIGSTOP): its connections stay open, and
// nothing is answered any more.
//
// It returns when the last thread stands still, which the kernel tells the
// parent: a signal that has been sent has not arrived yet.
func (p *Process) Freeze() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	var status syscall.WaitStatus
	_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	}
	if err != nil || !status.Stopped() {
		return fmt.Errorf("%s cannot be frozen: it has ended (%v)", p.name, err)
	}
	return nil
}

// Thaw lets a frozen process go on (SIGCONT).
func (p *Process) Thaw() error { return p.Signal(syscall.SIGCONT) }
