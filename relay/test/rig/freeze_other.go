//go:build !unix

package rig

import (
	"errors"
	"fmt"
)

// Freeze is for Unix only.
func (p *Process) Freeze() error {
	return fmt.Errorf("%s cannot be frozen on this system: %w", p.name, errors.ErrUnsupported)
}

// Thaw is for Unix only.
func (p *Process) Thaw() error {
	return fmt.Errorf("%s cannot be thawed on this system: %w", p.name, errors.ErrUnsupported)
}
