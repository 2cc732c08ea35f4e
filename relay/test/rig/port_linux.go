package rig

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freePort is a port of the loopback address that only what is told of it gets, as
// often as it starts, until the rig is closed.
//
// A socket keeps it that is bound and does not listen: to Linux a port is then no
// longer free, neither for an outgoing connection nor for who lets it choose, but who
// asks for this one with SO_REUSEADDR, as Go's listeners do, may listen.
func (r *Rig) freePort() (int, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("no socket to keep a port with: %w", err)
	}
	r.onClose(closer(func() error { return unix.Close(socket) }))
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, fmt.Errorf("a port cannot be shared with what will listen on it: %w", err)
	}
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, fmt.Errorf("no port is free on this machine: %w", err)
	}
	address, err := unix.Getsockname(socket)
	if err != nil {
		return 0, fmt.Errorf("a port is not known: %w", err)
	}
	return address.(*unix.SockaddrInet4).Port, nil
}
