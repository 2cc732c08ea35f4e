//go:build unix

package rig

import "syscall"

// Freeze stops a process as it stands (SIGSTOP): its connections stay open, and
// nothing is answered any more.
func (p *Process) Freeze() error { return p.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on (SIGCONT).
func (p *Process) Thaw() error { return p.Signal(syscall.SIGCONT) }
