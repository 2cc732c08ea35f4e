//go:build !linux

package rig

import (
	"errors"
	"fmt"
	"time"
)

// LimitFiles is for Linux only.
func (p *Process) LimitFiles(uint64) error {
	return fmt.Errorf("the files of a running process can be limited on Linux only: %w", errors.ErrUnsupported)
}

var errLinuxOnly = fmt.Errorf("the limits of a running process are looked at on Linux only: %w", errors.ErrUnsupported)

// Descriptors is for Linux only.
func (p *Process) Descriptors() (int, error) { return 0, errLinuxOnly }

// LimitDescriptors is for Linux only.
func (p *Process) LimitDescriptors(int) error { return errLinuxOnly }

// PeakMemory is for Linux only.
func (p *Process) PeakMemory() (int, error) { return 0, errLinuxOnly }

// CPU is for Linux only.
func (p *Process) CPU() (time.Duration, error) { return 0, errLinuxOnly }

// OwnCPU is for Linux only.
func OwnCPU() (time.Duration, error) { return 0, errLinuxOnly }

// MachineCPU is for Linux only.
func MachineCPU() (time.Duration, error) { return 0, errLinuxOnly }

// OwnDescriptors is for Linux only.
func OwnDescriptors(int) error { return errLinuxOnly }
