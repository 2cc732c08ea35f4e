//go:build !linux

package rig

import (
	"errors"
	"fmt"
)

// LimitFiles is for Linux only.
func (p *Process) LimitFiles(uint64) error {
	return fmt.Errorf("the files of a running process can be limited on Linux only: %w", errors.ErrUnsupported)
}
