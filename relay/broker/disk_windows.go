package broker

import "golang.org/x/sys/windows"

// DiskUsage returns the number of free bytes, for this user, and the total size of the file
// system of a folder.
func DiskUsage(folder string) (free, total uint64, err error) {
	path, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return 0, 0, err
	}
	err = windows.GetDiskFreeSpaceEx(path, &free, &total, nil)
	return free, total, err
}
