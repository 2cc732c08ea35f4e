package broker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// setBacklog makes the kernel keep no more than so many connections that a listening
// socket of this process has not accepted yet; who comes besides tries again a second
// later. The socket is another's, nats-server's, which does not give it away: so it is
// looked for among the files that are open.
func setBacklog(addr net.Addr, most int) error {
	return onListener(addr, func(fd int) error { return unix.Listen(fd, most) })
}

// onListener does something with the socket that listens at an address.
func onListener(addr net.Addr, do func(fd int) error) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("%v is no address of TCP", addr)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// What is no socket has an error. Only this process's own sockets are seen here, and
		// no two listen at one port.
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens == 0 {
			continue
		}
		if port(fd) == tcp.Port {
			return do(fd)
		}
	}
	return errors.New("nothing in this process listens there")
}

// port is that of a socket of TCP, 0 of others.
func port(fd int) int {
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return 0
	}
	switch addr := addr.(type) {
	case *unix.SockaddrInet4:
		return addr.Port
	case *unix.SockaddrInet6:
		return addr.Port
	}
	return 0
}
