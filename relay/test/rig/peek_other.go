//go:build !unix

package rig

import "errors"

// peek is for Unix only: without it, a connection counts as one that has ended.
func peek(uintptr) (n int, waits bool, err error) { return 0, false, errors.ErrUnsupported }
