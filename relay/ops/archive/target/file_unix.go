//go:build unix

package target

import (
	"errors"
	"os"
	"syscall"
)

func nativePath(folder string) string { return folder }

func nativeKey(key string) string { return key }

// syncFolder makes the names in a folder durable. File systems that cannot do that say that the
// argument is invalid.
func syncFolder(d *os.File) error {
	err := d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}
