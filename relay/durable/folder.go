package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// folder is a folder whose directory entries must be durable, and the blocks in it, if any.
type folder struct {
	path string
	// once: its names do not change after the first fsync.
	once   bool
	blocks bool

	synced bool // it is durable as info has it
	info   fs.FileInfo
	last   uint64 // the number of the last block: those before it are not written to any more
}

// blockNumber returns the number of the block with a file name.
func blockNumber(name string) (uint64, bool) {
	number, found := strings.CutSuffix(name, ".blk")
	n, err := strconv.ParseUint(number, 10, 64)
	return n, found && err == nil
}

// Modification times are only this precise: a folder may change twice within it and have the
// same time. Some file systems count whole seconds.
const (
	recent       = 50 * time.Millisecond
	recentCoarse = 2500 * time.Millisecond
)

// isSettled reports whether a later change would have another modification time than info.
func isSettled(info fs.FileInfo, now time.Time) bool {
	exactness := recent
	if info.ModTime().Nanosecond() == 0 {
		exactness = recentCoarse
	}
	return now.Sub(info.ModTime()).Abs() > exactness
}

// unchanged reports whether the folder is still as it was synced.
func (f *folder) unchanged() bool {
	info, err := os.Stat(f.path)
	return err == nil && f.synced && f.isSame(info)
}

func (f *folder) isSame(info fs.FileInfo) bool {
	return os.SameFile(info, f.info) && info.ModTime().Equal(f.info.ModTime())
}

// sync makes the folder's directory entries durable if they may have changed since the last
// call, and the blocks that may have been written to.
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
	if f.synced && f.isSame(info) {
		return f.syncLast()
	}
	if f.synced = false; f.info != nil && !os.SameFile(info, f.info) {
		f.last = 0
	}
	if f.blocks {
		if err := f.syncBlocks(); err != nil {
			return err
		}
	}
	if err := SyncFolder(f.path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	} else if err != nil {
		return err
	}
	f.info, f.synced = info, isSettled(info, now)
	return nil
}

// syncBlocks fsyncs the block that was the last one at the previous call, and all after it.
// The first call fsyncs all blocks, because an earlier run may have left any of them unsynced.
func (f *folder) syncBlocks() error {
	entries, err := os.ReadDir(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	} else if err != nil {
		return fmt.Errorf("%s cannot be made durable: %w", f.path, err)
	}
	var numbers []uint64
	for _, entry := range entries {
		if n, ok := blockNumber(entry.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		f.last = 0
		return nil
	}
	last := slices.Max(numbers)
	if last < f.last { // it was removed
		f.last = 0
	}
	for _, n := range numbers {
		if n < f.last {
			continue
		}
		// The server has removed a block that is missing, with all messages in it.
		if err := f.syncBlock(n); err != nil && !errors.Is(err, ErrGone) {
			return err
		}
	}
	f.last = last
	return nil
}

// syncLast fsyncs the block that is being written to, if there is one.
func (f *folder) syncLast() error {
	if f.last == 0 {
		return nil
	}
	return f.syncBlock(f.last)
}

// syncBlock fsyncs a block.
func (f *folder) syncBlock(number uint64) error {
	flags := os.O_RDONLY
	if runtime.GOOS == "windows" {
		flags = os.O_RDWR // which it asks for
	}
	file, err := os.OpenFile(filepath.Join(f.path, strconv.FormatUint(number, 10)+".blk"), flags, 0)
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

// SyncFolder makes the directory entries of a folder durable. Fsyncing a file does not make
// its directory entry durable: POSIX requires an fsync of the folder. SyncFolder returns nil
// where the system or the file system cannot fsync folders.
func SyncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // it cannot fsync a folder
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

// MakeFolder makes a folder and its missing parents, and makes their directory entries
// durable.
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
		// This process may not read it, so it has made nothing in it now.
		if err := SyncFolder(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}
