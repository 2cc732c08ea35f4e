package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"time"
)

// partName is a temporary name that Put gives, and nobody else.
var partName = regexp.MustCompile(`^\.[0-9]{2,}-[A-Za-z0-9._-]+\.[A-Z2-7]{26}\.part$`)

// listed is how many names of a folder are held at a time.
const listed = 1000

func (f *folder) Clean(ctx context.Context) error {
	if f.readOnly {
		return errReadOnly
	}
	removed := 0
	err := f.each(ctx, ".", func(task fs.DirEntry) error {
		if !task.IsDir() {
			return nil
		}
		n, err := f.cleanTask(ctx, task.Name())
		removed += n
		return err
	})
	if removed > 0 {
		f.log.Info("removed parts of files that were not finished", "target", f.text, "files", removed)
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("the archive cannot remove what was not finished in %s: %w", f.text, err)
	}
	return err
}

func (f *folder) cleanTask(ctx context.Context, task string) (removed int, err error) {
	err = f.each(ctx, task, func(file fs.DirEntry) error {
		if !file.Type().IsRegular() || !partName.MatchString(file.Name()) {
			return nil
		}
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(info.ModTime()) < f.abandoned {
			return nil
		}
		if err == nil {
			err = f.root.Remove(path.Join(task, file.Name()))
		}
		if err == nil {
			removed++
		}
		return err
	})
	if removed > 0 {
		_ = f.root.Remove(task) // if it is empty
	}
	return removed, err
}

// stalled is for how long nothing was written to a temporary file that a program has left which
// was killed: the broker takes longer to have somebody else store that file.
const stalled = 10 * time.Second

// removeParts removes what was left of one file. What it cannot remove, Clean finds.
func (f *folder) removeParts(task, base string) {
	_ = f.each(context.Background(), task, func(file fs.DirEntry) error {
		if name := file.Name(); strings.HasPrefix(name, "."+base+".") && partName.MatchString(name) {
			if info, err := file.Info(); err == nil && time.Since(info.ModTime()) > stalled {
				_ = f.root.Remove(path.Join(task, name))
			}
		}
		return nil
	})
}

// each calls do for what is in a folder.
func (f *folder) each(ctx context.Context, dir string, do func(fs.DirEntry) error) error {
	d, err := f.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(listed)
		for _, entry := range entries {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := do(entry); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
