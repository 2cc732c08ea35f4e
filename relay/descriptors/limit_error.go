package descriptors

import (
	"errors"
	"syscall"
)

// IsLimitError reports whether an error says that a file could not be opened because this
// process, or the whole machine, has too many open. That passes by itself and says
// nothing of the file.
func IsLimitError(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
