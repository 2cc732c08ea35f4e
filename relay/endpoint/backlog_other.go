//go:build !linux

package endpoint

import "errors"

// stopHandshakes is for Linux only: elsewhere connections that are not accepted yet are
// reset when the listener is closed.
func (*listener) stopHandshakes() error { return errors.ErrUnsupported }

func (*listener) backlogLen() (int, error) { return 0, errors.ErrUnsupported }

func (*conn) hasUnread() bool { return false }
