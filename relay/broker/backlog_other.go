//go:build !linux

package broker

import (
	"errors"
	"net"
)

// setBacklog is for Linux only, where this process can find its sockets.
func setBacklog(net.Addr, int) error { return errors.ErrUnsupported }
