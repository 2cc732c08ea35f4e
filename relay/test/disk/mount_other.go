//go:build !(linux || darwin || freebsd)

package disk

import (
	"errors"
	"fmt"
	"math/rand/v2"
)

// Mounted is a disk that programs can use.
type Mounted struct {
	*Disk
	folder string // as on other systems, for the tests
}

// Mount is not to be had on this system.
func (d *Disk) Mount(string) (*Mounted, error) {
	return nil, fmt.Errorf("%w: there is no FUSE on this system", errors.ErrUnsupported)
}

// PowerLoss is not to be had on this system.
func (*Mounted) PowerLoss(*rand.Rand) (Loss, error) { return Loss{}, errors.ErrUnsupported }

// Close has nothing to do.
func (*Mounted) Close() error { return nil }

// Discard does nothing.
func (*Mounted) Discard() error { return nil }
