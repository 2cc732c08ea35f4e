//go:build linux || darwin

package broker

import "syscall"

// DiskUsage returns the free space for this user on the folder's file system, and its total
// size, in bytes.
func DiskUsage(folder string) (free, total uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, 0, err
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}
