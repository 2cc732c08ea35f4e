//go:build unix

package descriptors

import (
	"math"

	"golang.org/x/sys/unix"
)

// limit is this process's limit of open files as it is now (RLIMIT_NOFILE, the soft
// one, which Go raises to the hard one when a program starts).
func limit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return int(min(uint64(limit.Cur), math.MaxInt32))
}
