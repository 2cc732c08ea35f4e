package endpoint

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// dropSYN is a packet filter for a listening socket: of TCP it lets through all
// but a SYN without ACK, which asks for a new connection. The client sends it again a
// second later, and is refused by then.
var dropSYN = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13}, // the flags
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: synFlag | ackFlag},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: synFlag, Jt: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
}

const synFlag, ackFlag = 0x02, 0x10

// stopHandshakes stops the kernel from completing new connections. Connections in the
// backlog stay, while Close would reset them.
func (l *listener) stopHandshakes() error {
	return l.control(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(dropSYN)), Filter: &dropSYN[0]})
	})
}

// backlogLen returns the number of connections that are not accepted yet.
func (l *listener) backlogLen() (n int, err error) {
	err = l.control(func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = int(info.Unacked) // for a listening socket: the length of its backlog
		}
		return err
	})
	return n, err
}

// hasUnread reports whether bytes have come that are not read yet.
func (c *conn) hasUnread() bool {
	n := 0
	err := control(c.raw, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.SIOCINQ)
		return err
	})
	return err == nil && n > 0
}

func (l *listener) control(f func(fd int) error) error { return control(l.Listener, f) }

// control calls f with the descriptor of a socket.
func control(socket any, f func(fd int) error) error {
	with, ok := socket.(syscall.Conn)
	if !ok {
		return fmt.Errorf("a %T has no descriptor", socket)
	}
	raw, err := with.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
