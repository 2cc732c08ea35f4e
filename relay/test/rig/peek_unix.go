//go:build unix

package rig

import "syscall"

// peek returns how many bytes can be read from a socket, one at the most, and reads none: 0
// is its end. It waits for nothing: waits says that there is nothing yet.
func peek(fd uintptr) (n int, waits bool, err error) {
	var b [1]byte
	n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	if err == syscall.EAGAIN {
		return 0, true, nil
	}
	return n, false, err
}
