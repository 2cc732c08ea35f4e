//go:build !linux

package rig

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// openTerminal is for Linux only.
func openTerminal() (emulator, device *os.File, err error) {
	return nil, nil, fmt.Errorf("pseudo-terminals are opened on Linux only: %w", errors.ErrUnsupported)
}

func onTerminal(*syscall.SysProcAttr) {}
