//go:build linux || darwin

package main

import "syscall"

// freeBytes is how much this user may still write to the folder's file system.
func freeBytes(folder string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}
