package rig

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// NewDisk makes a small file system in memory and returns its folder, or an error
// where this user may not.
//
// It is not mounted anywhere: it is reached through a descriptor of this process,
// so that nothing is left of it when that is closed or the process ends.
func (r *Rig) NewDisk(bytes int) (string, error) {
	conf, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("no file system of one's own: %w", err)
	}
	defer unix.Close(conf)
	if err := unix.FsconfigSetString(conf, "size", fmt.Sprint(bytes)); err != nil {
		return "", fmt.Errorf("no file system of %d bytes: %w", bytes, err)
	}
	if err := unix.FsconfigCreate(conf); err != nil {
		return "", fmt.Errorf("no file system of one's own: %w", err)
	}
	root, err := unix.Fsmount(conf, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("no file system of one's own: %w", err)
	}
	r.onClose(closer(func() error { return unix.Close(root) }))
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), root), nil
}

// FreeBytes is how much may still be written to a folder's file system.
func FreeBytes(folder string) (int, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, fmt.Errorf("the free space of %s is not known: %w", folder, err)
	}
	return int(s.Bavail) * int(s.Bsize), nil
}

// FillDisk makes a file that takes all space of its file system but for so many
// bytes, at once, as another program's would that knows nothing of the relay.
func FillDisk(file string, leave int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 0; ; {
		free, err := FreeBytes(file)
		if err != nil {
			return err
		}
		if free <= leave {
			return f.Close()
		}
		err = unix.Fallocate(int(f.Fd()), 0, int64(size), int64(free-leave))
		switch {
		case err == nil:
			size += free - leave
		case !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EINTR): // or somebody took some meanwhile
			return fmt.Errorf("%s cannot take %d bytes: %w", file, free-leave, err)
		}
	}
}
