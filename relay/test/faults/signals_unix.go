//go:build unix

package faults

import "syscall"

// ignoredSignals are those that a relay is sent and does nothing at.
func ignoredSignals() []syscall.Signal {
	return []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGPIPE}
}
