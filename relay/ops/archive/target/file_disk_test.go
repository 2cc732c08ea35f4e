package target_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/test/disk"
)

// open opens a target until the test ends.
func open(t *testing.T, name string, o target.Options) target.Target {
	t.Helper()
	spec, err := target.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := spec.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

func put(at target.Target, key string, p []byte) error {
	_, err := at.Put(context.Background(), key, bytes.NewReader(p), target.Meta{Source: "https://h/x", MediaType: target.Sniff(p)})
	return err
}

func mustPut(t *testing.T, at target.Target, key string, p []byte) {
	t.Helper()
	if err := put(at, key, p); err != nil {
		t.Fatal(err)
	}
}

// has reports whether a target has a file.
func has(t *testing.T, at target.Target, key string, p []byte) bool {
	t.Helper()
	body, err := at.Get(context.Background(), key)
	if err != nil {
		t.Error(err)
		return false
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	return err == nil && bytes.Equal(got, p)
}

func mount(t *testing.T, bytes int64) (*disk.Mounted, string) {
	t.Helper()
	folder := t.TempDir()
	d, err := disk.New(bytes).Mount(folder)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = d.Discard() })
	return d, folder
}

const key = "task/01-x.bin"

// What Put has stored is there after a loss of power: the contents, the name, and the folders
// above it.
func TestFilesOutliveALossOfPower(t *testing.T) {
	t.Parallel()
	d, folder := mount(t, 64<<20)
	name := "file://" + folder + "/a/b"
	p := bytes.Repeat([]byte("apixo"), 100_000)
	spec, err := target.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := spec.Open(t.Context(), target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, opened, key, p)
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.PowerLoss(nil); err != nil {
		t.Fatal(err)
	}
	after, err := spec.Open(t.Context(), target.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if !has(t, after, key, p) {
		t.Error("the file is not there after a loss of power")
	}
	_ = after.Close()
}

// A disk that fails leaves nothing behind, and works again by itself.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	d, folder := mount(t, 1<<20)
	at := open(t, "file://"+folder+"/files", target.Options{})
	t.Cleanup(func() { _ = at.Close() }) // before the disk is discarded
	mustPut(t, at, "old/01-x", []byte("old"))
	for _, tt := range []struct {
		name  string
		fails func()
		size  int
		want  string
	}{
		{"full", func() {}, 2 << 20, "make room on that disk"},
		{"quota", func() { d.FailWrites(syscall.EDQUOT, 1) }, 10, "raise the quota"},
		{"writes", func() { d.FailWrites(syscall.EIO, 1) }, 10, "input/output error"},
		{"syncs", func() { d.FailSyncs(syscall.EIO, 1) }, 10, "input/output error"},
		{"read-only", func() { d.FailWrites(syscall.EROFS, 1) }, 10, "mount the disk for writing"},
	} {
		tt.fails()
		err := put(at, key, make([]byte, tt.size))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), at.Location(key)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if n := countParts(t, folder); n != 0 {
			t.Errorf("%s: %d parts are left", tt.name, n)
		}
		if _, err := at.Stat(t.Context(), key); !errors.Is(err, target.ErrNotFound) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	mustPut(t, at, key, []byte("there is room again"))
	if !has(t, at, "old/01-x", []byte("old")) {
		t.Error("what was there before is not there any more")
	}
}

// A link in the folder leads to nothing outside of it.
func TestLinksDoNotLeadOut(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "01-x.bin"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "task")); err != nil {
		t.Skip(err)
	}
	at := open(t, "file://"+filepath.ToSlash(dir), target.Options{Abandoned: time.Nanosecond})
	if body, err := at.Get(t.Context(), key); err == nil {
		body.Close()
		t.Error("a file outside can be read")
	}
	if err := put(at, key, []byte("new")); err == nil {
		t.Error("a file outside can be written")
	}
	part := ".01-x.bin." + strings.Repeat("A", 26) + ".part"
	if err := os.WriteFile(filepath.Join(outside, part), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := at.Clean(t.Context()); err != nil {
		t.Error(err)
	}
	names, err := os.ReadDir(outside)
	if p, _ := os.ReadFile(filepath.Join(outside, "01-x.bin")); err != nil || len(names) != 2 || string(p) != "secret" {
		t.Errorf("outside there are %v, with %q, %v", names, p, err)
	}
}

// What is no file of the archive is neither read nor removed.
func TestOthersThingsInTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := open(t, "file://"+filepath.ToSlash(dir), target.Options{Abandoned: time.Nanosecond, Log: slog.New(slog.DiscardHandler)})
	mine := []string{"task/.01-x.part", "task/notes.part", "." + strings.Repeat("A", 26) + ".part", "task/.01-x." + strings.Repeat("a", 26) + ".part"}
	for _, name := range mine {
		mustWrite(t, filepath.Join(dir, name))
	}
	if err := os.MkdirAll(filepath.Join(dir, key), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := at.Clean(t.Context()); err != nil {
		t.Error(err)
	}
	for _, name := range mine {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := at.Get(t.Context(), key); err == nil || errors.Is(err, target.ErrNotFound) || !strings.Contains(err.Error(), "it is no file") {
		t.Errorf("a folder in the place of a file is %v", err)
	}
	if err := put(at, key, nil); err == nil {
		t.Error("a folder is replaced by a file")
	}
}

// What was left of a file is gone when that is stored, and no part that somebody writes.
func TestPartsOfTheSameFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := open(t, "file://"+filepath.ToSlash(dir), target.Options{})
	part := func(name, random string, age time.Duration) string {
		path := filepath.Join(dir, "task", "."+name+"."+strings.Repeat(random, 26)+".part")
		mustWrite(t, path)
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	left := part("01-x.bin", "A", time.Minute)
	others := []string{part("01-x.bin", "B", 0), part("02-x.bin", "A", time.Minute)}
	if err := put(at, key, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was left is there: %v", err)
	}
	for _, path := range others {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func mustWrite(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFolderThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		folder   string
		readOnly bool
		want     string
	}{
		{file, false, "not a directory"},
		{filepath.Join(file, "below"), false, "cannot be made"},
		{filepath.Join(dir, "none"), true, "cannot be opened"},
	} {
		spec, err := target.Parse("file://" + filepath.ToSlash(tt.folder))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := spec.Open(t.Context(), target.Options{ReadOnly: tt.readOnly}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s is opened with %v", tt.folder, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening for reading makes a folder: %v", err)
	}
}
