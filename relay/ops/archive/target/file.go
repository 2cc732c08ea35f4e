package target

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
)

// folder is a target on a disk. A file is written beside its place under a temporary name,
// fsynced, and renamed, and then its folder is fsynced: it is there as a whole or not at all,
// after a loss of power too. Symbolic links are followed inside the folder and not out of it.
type folder struct {
	Spec
	root      *os.Root
	readOnly  bool
	abandoned time.Duration
	log       *slog.Logger
}

func openFolder(s Spec, o Options) (*folder, error) {
	dir := nativePath(s.folder)
	if !o.ReadOnly {
		if err := makeFolder(dir); err != nil {
			return nil, fmt.Errorf("the folder %s cannot be made: %w; name a folder that this user may write", dir, err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("the folder %s cannot be opened: %w; name a folder that this user may read", dir, err)
	}
	abandoned := o.Abandoned
	if abandoned == 0 {
		abandoned = time.Hour
	}
	return &folder{Spec: s, root: root, readOnly: o.ReadOnly, abandoned: abandoned, log: o.Log}, nil
}

// makeFolder makes a folder and those above it, durably.
func makeFolder(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	p, err := os.Open(parent)
	if err != nil {
		return nil // it may be written and not read; then nobody can fsync it
	}
	defer p.Close()
	return syncFolder(p)
}

func (f *folder) Location(key string) string { return f.location(key) }

func (f *folder) Close() error { return f.root.Close() }

// open opens what is stored at a key; anything but a file is none.
func (f *folder) open(key string) (*os.File, error) {
	info, err := f.root.Stat(nativeKey(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", f.location(key), ErrNotFound)
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no file; move away what is there")
	}
	if err != nil {
		return nil, f.explain("read", key, err)
	}
	file, err := f.root.Open(nativeKey(key))
	if err != nil {
		return nil, f.explain("read", key, err)
	}
	return file, nil
}

func (f *folder) Get(_ context.Context, key string) (io.ReadCloser, error) { return f.open(key) }

func (f *folder) Stat(ctx context.Context, key string) (Object, error) {
	file, err := f.open(key)
	if err != nil {
		return Object{}, err
	}
	defer file.Close()
	object, err := readAll(ctx, file)
	if err != nil {
		return Object{}, f.explain("read", key, err)
	}
	return object, nil
}

func (f *folder) Put(ctx context.Context, key string, r io.Reader, meta Meta) (Object, error) {
	if f.readOnly {
		return Object{}, errReadOnly
	}
	file, name, err := f.create(key)
	if err != nil {
		return Object{}, f.explain("write", key, err)
	}
	s := newSource(ctx, r)
	err = f.write(file, name, key, s)
	if err == nil {
		return s.object(meta.MediaType), nil
	}
	// Its folder goes only when it is empty.
	_ = f.root.Remove(name)
	_ = f.root.Remove(path.Dir(name))
	if s.err != nil {
		return Object{}, s.err
	}
	return Object{}, f.explain("write", key, err)
}

// create makes the temporary file. A Put that fails removes the folder if nothing is in it,
// which can be between the two steps of another.
func (f *folder) create(key string) (file *os.File, name string, err error) {
	dir, base := path.Split(nativeKey(key))
	name = dir + "." + base + "." + rand.Text() + ".part"
	for range 10 {
		switch err = f.root.Mkdir(path.Clean(dir), 0o777); {
		case errors.Is(err, fs.ErrExist):
			f.removeParts(path.Clean(dir), base)
		case err != nil:
			return nil, "", err
		}
		file, err = f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return file, name, err
}

func (f *folder) write(file *os.File, name, key string, s *source) error {
	_, err := io.CopyBuffer(onlyWriter{file}, s, make([]byte, 128<<10))
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if there, err := f.Stat(s.ctx, key); err == nil && there.SHA256 == s.digest() {
		err = f.root.Remove(name)
		if err != nil {
			return err
		}
	} else if err := f.root.Rename(name, nativeKey(key)); err != nil {
		return err
	}
	// What was there already, and the folder, may be of a program that was killed before it
	// had fsynced them.
	if err := f.sync(path.Dir(name)); err != nil {
		return err
	}
	return f.sync(".")
}

// onlyWriter hides the ReadFrom of a file, which takes a smaller buffer.
type onlyWriter struct{ io.Writer }

func (f *folder) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return syncFolder(d)
}

func (f *folder) explain(what, key string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint = "; make room on that disk, or raise the quota"
	case errors.Is(err, fs.ErrPermission):
		hint = "; let this user write the folder"
	case errors.Is(err, syscall.EROFS):
		hint = "; mount the disk for writing"
	}
	return fmt.Errorf("the archive cannot %s %s: %w%s", what, f.location(key), err, hint)
}
