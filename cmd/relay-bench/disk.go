package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// probeBytes are appended before each fsync: about what one event takes.
	probeBytes = 1 << 10

	// probeCount and probeTime bound a probe, of which there is one in each round.
	probeCount = 100
	probeTime  = 300 * time.Millisecond
)

// probeFsync appends to a new file in the folder and fsyncs it, again and again,
// as a broker does for single events. It returns how long each took.
func probeFsync(dir string) ([]time.Duration, error) {
	f, err := os.CreateTemp(dir, "fsync-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	block := make([]byte, probeBytes)
	for begin := time.Now(); len(took) < probeCount && (len(took) == 0 || time.Since(begin) < probeTime); {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

// settle fsyncs every file in a folder. What one receiver left to the system to
// write would be written at the cost of the next.
func settle(dir string) {
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // removed meanwhile, for instance: there is nothing left to write
		}
		if f, err := os.Open(path); err == nil {
			_ = f.Sync()
			_ = f.Close()
		}
		return nil
	})
}

// filesystem is the type of the file system that a folder is on.
func filesystem(dir string) string {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	mounts, err2 := os.ReadFile("/proc/self/mounts")
	if err != nil || err2 != nil {
		return "unknown file system"
	}
	longest, kind := "", "unknown file system"
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		// Of two mounts at one place, the later hides the earlier.
		point := strings.ReplaceAll(fields[1], `\040`, " ")
		inside := point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
		if inside && len(point) >= len(longest) {
			longest, kind = point, fields[2]
		}
	}
	return kind
}

// inMemory tells whether fsync costs nothing on such a file system.
func inMemory(filesystem string) bool {
	return slices.Contains([]string{"tmpfs", "ramfs"}, filesystem)
}

// workFolder makes the temporary folder below the given one, or else on the
// first disk that is one.
func workFolder(dir string) (string, error) {
	if dir == "" {
		dir = os.TempDir()
		if inMemory(filesystem(dir)) {
			dir = "."
		}
	}
	dir, err := filepath.Abs(dir) // the relay runs in another folder
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, "relay-bench-")
}
