package browser

import (
	"os"
	"syscall"
	"testing"
)

// keepPort is a port of the loopback address that only what is told of it gets, as often as
// it starts, until the test ends.
//
// A socket keeps it that is bound and does not listen: to Linux a port is then no longer
// free for who lets it choose, but who asks for this one with SO_REUSEADDR, as Go's
// listeners do, may listen.
func keepPort(t testing.TB) int {
	t.Helper()
	syscall.ForkLock.RLock()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(socket)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	t.Cleanup(func() { _ = syscall.Close(socket) }) // of which nobody hears any more
	if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(os.NewSyscallError("setsockopt", err))
	}
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(os.NewSyscallError("bind", err))
	}
	address, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(os.NewSyscallError("getsockname", err))
	}
	return address.(*syscall.SockaddrInet4).Port
}
