package rig

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A server that is down finds its port free when it comes back, and to everybody
// else it never was.
func TestPortIsKept(t *testing.T) {
	t.Parallel()
	r, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	port, err := r.freePort()
	if err != nil {
		t.Fatal(err)
	}
	// A socket without SO_REUSEADDR stands for all that do not ask for this port: a
	// connection, or who lets Linux choose.
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = unix.Bind(socket, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	unix.Close(socket)
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("the port is given to somebody else: %v", err)
	}
	for range 3 {
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		// The end that closes first keeps its address for a while, as a killed server does.
		accepted.Close()
		conn.Close()
		l.Close()
		if conn, err := net.Dial("tcp", loopback(port)); err == nil {
			conn.Close()
			t.Fatal("what keeps the port takes connections")
		}
	}
}
