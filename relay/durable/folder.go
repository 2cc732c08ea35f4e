package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// folder is one in whose files, or in whose names alone, something is kept.
type folder struct {
	path string
	// once: its names do not change after the first fsync.
	once bool
	// holds tells which of its files are to be durable; nil: none. Those that have a number
	// are written to until there is one with a higher number, those with 0 never again.
	holds func(name string) (number uint64, ok bool)

	// synced: the folder is durable as info has it, and so is what files has.
	synced bool
	info   fs.FileInfo
	files  map[string]fs.FileInfo
	last   string // of the files, the one with the highest number
}

// isMeta tells the files of a stream's configuration, which are replaced as a whole.
func isMeta(name string) (uint64, bool) {
	return 0, name == server.JetStreamMetaFile || name == server.JetStreamMetaFileSum
}

// isBlock tells blocks of messages.
func isBlock(name string) (uint64, bool) {
	number, found := strings.CutSuffix(name, ".blk")
	n, err := strconv.ParseUint(number, 10, 64)
	return n, found && err == nil
}

// Times of change are only so exact: what was changed just now may change again and still
// tell the same time. Some file systems count whole seconds.
const (
	recent       = 50 * time.Millisecond
	recentCoarse = 2500 * time.Millisecond
)

// isSettled reports whether a later change would tell another time than info does.
func isSettled(info fs.FileInfo, now time.Time) bool {
	exactness := recent
	if info.ModTime().Nanosecond() == 0 {
		exactness = recentCoarse
	}
	return now.Sub(info.ModTime()).Abs() > exactness
}

// isSame reports whether nothing has happened to a file between two looks.
func isSame(one, other fs.FileInfo) bool {
	return os.SameFile(one, other) && one.ModTime().Equal(other.ModTime()) && one.Size() == other.Size()
}

// unchanged reports whether the folder is still as it was synced.
func (f *folder) unchanged() bool {
	info, err := os.Stat(f.path)
	return err == nil && f.synced && isSame(info, f.info)
}

// sync makes the folder's names durable, and its files, as far as they may have changed
// since the last time.
func (f *folder) sync() error {
	if f.synced && f.once {
		return nil
	}
	now := time.Now()
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.info == nil:
		return nil // a stream in memory
	case errors.Is(err, fs.ErrNotExist):
		// The server goes on writing to files that have no name any more.
		f.synced = false
		return fmt.Errorf("%w: the folder %s is gone, and with it what was stored", ErrGone, f.path)
	case err != nil:
		return fmt.Errorf("%s cannot be made durable: %w", f.path, err)
	}
	if f.synced && isSame(info, f.info) {
		return f.syncLast()
	}
	f.synced = false
	if err := f.syncFiles(); err != nil {
		return err
	}
	if err := SyncFolder(f.path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	} else if err != nil {
		return err
	}
	f.info, f.synced = info, isSettled(info, now)
	return nil
}

// syncFiles fsyncs the files that have changed since the last time, or may have: among
// them is the one that was the last then, and all that are newer.
func (f *folder) syncFiles() error {
	if f.holds == nil {
		return nil
	}
	entries, err := os.ReadDir(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	} else if err != nil {
		return fmt.Errorf("%s cannot be made durable: %w", f.path, err)
	}
	files, last, highest := make(map[string]fs.FileInfo), "", uint64(0)
	for _, entry := range entries {
		number, ok := f.holds(entry.Name())
		if !ok {
			continue
		}
		if number > highest {
			last, highest = entry.Name(), number
		}
		now := time.Now()
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // the server has just removed it
		} else if err != nil {
			return fmt.Errorf("%s cannot be made durable: %w", f.path, err)
		}
		if known := f.files[entry.Name()]; known == nil || !isSame(known, info) {
			if err := syncFile(filepath.Join(f.path, entry.Name())); err != nil && !errors.Is(err, ErrGone) {
				return err
			}
		}
		if isSettled(info, now) {
			files[entry.Name()] = info
		}
	}
	f.files, f.last = files, last
	return nil
}

// syncLast fsyncs the file that is being written to, if any is.
func (f *folder) syncLast() error {
	if f.last == "" {
		return nil
	}
	return syncFile(filepath.Join(f.path, f.last))
}

// syncFile makes durable what a file holds.
func syncFile(path string) error {
	flags := os.O_RDONLY
	if runtime.GOOS == "windows" {
		flags = os.O_RDWR // which it asks for
	}
	file, err := os.OpenFile(path, flags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	} else if err != nil {
		return fmt.Errorf("a block cannot be made durable: %w", err)
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return fmt.Errorf("a block cannot be made durable: %w", err)
	}
	return nil
}

// SyncFolder makes the names in a folder durable. To fsync a file is to keep what is in it,
// and not that it has a name: POSIX leaves that to an fsync of its folder.
func SyncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // which knows no fsync of a folder
	}
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("the names of files cannot be made durable: %w", err)
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil // a file system that has no fsync of folders
	}
	if err != nil {
		return fmt.Errorf("the names of files cannot be made durable: %w", err)
	}
	return nil
}

// MakeFolder makes a folder and those that it lies in, with names that last.
func MakeFolder(path string) error {
	parents := []string{filepath.Dir(path)}
	for parent := parents[0]; ; {
		if _, err := os.Stat(parent); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parent = filepath.Dir(parent)
		parents = append(parents, parent)
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return err
	}
	for _, parent := range parents {
		// Who may not read it has not made anything in it now.
		if err := SyncFolder(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}
