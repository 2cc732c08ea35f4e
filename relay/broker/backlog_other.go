//go:build !linux

package broker

import (
	"errors"
	"net"
)

// shortQueue is for Linux only, where this process can find its sockets.
func shortQueue(net.Addr, int) error { return errors.ErrUnsupported }
