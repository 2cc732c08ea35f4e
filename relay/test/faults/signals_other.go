//go:build !unix

package faults

import "syscall"

// ignoredSignals are none where nobody can send any.
func ignoredSignals() []syscall.Signal { return nil }
