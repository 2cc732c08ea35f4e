//go:build !linux

package rig

import "net"

// freePort is a port of the loopback address that nobody listens on now. Nothing
// keeps it.
func (r *Rig) freePort() (int, error) {
	l, err := net.Listen("tcp", loopback(0))
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
