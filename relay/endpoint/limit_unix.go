//go:build unix

package endpoint

import (
	"math"

	"golang.org/x/sys/unix"
)

// mostConnections is what this process's limit of descriptors allows, as it is now.
func mostConnections() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt
	}
	n := int(min(uint64(limit.Cur), math.MaxInt32))
	return max(n/2, n-reserved)
}
