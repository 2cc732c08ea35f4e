//go:build !linux

package rig

import (
	"errors"
	"fmt"
)

// NewDisk is for Linux only.
func (r *Rig) NewDisk(int) (string, error) {
	return "", fmt.Errorf("a file system of one's own can be made on Linux only: %w", errors.ErrUnsupported)
}

// FreeBytes is for Linux only.
func FreeBytes(string) (int, error) {
	return 0, fmt.Errorf("free space is looked at on Linux only: %w", errors.ErrUnsupported)
}

// FillDisk is for Linux only.
func FillDisk(string, int) error {
	return fmt.Errorf("a disk is filled on Linux only: %w", errors.ErrUnsupported)
}
