//go:build linux || darwin

package broker

import "syscall"

// DiskUsage is how much this user may still write to the folder's file system, and how
// large that is, in bytes.
func DiskUsage(folder string) (free, total uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, 0, err
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}
