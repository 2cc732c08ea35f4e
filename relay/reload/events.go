package reload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// events are those of files, and of what can put others in their place.
type events struct {
	watcher *fsnotify.Watcher // nil where there are none
	told    <-chan fsnotify.Event
	failed  <-chan error
	trail   trail
}

// followTries is how often files may be moved while a watch is set up.
const followTries = 3

// follow watches files where they are now, and reports whether all changes of them
// are told that happen on this machine from now on.
func (e *events) follow(files []string) bool {
	for range followTries {
		now, err := trailOf(files)
		if err != nil {
			return false // of what is not there nothing is told
		}
		if e.watcher != nil && now.same(e.trail) {
			return true
		}
		// They may be moved while they are looked up and watched: then the next trail
		// is another one.
		if e.open(now) != nil {
			return false
		}
	}
	return false
}

// open watches what is on a trail, and nothing else.
func (e *events) open(t trail) error {
	e.close()
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	e.watcher, e.told, e.failed, e.trail = watcher, watcher.Events, watcher.Errors, t
	for _, path := range slices.Sorted(maps.Keys(t.watched)) {
		if err := watcher.Add(path); err != nil {
			e.close()
			return err
		}
	}
	return nil
}

func (e *events) close() {
	if e.watcher != nil {
		_ = e.watcher.Close() // it has no error on any system
	}
	*e = events{}
}

// await returns when files may have changed: after an event and what follows it, and in any
// case after that time. It also returns when somebody asks, and reports that, and with the
// end of ctx.
func (e *events) await(ctx context.Context, most time.Duration, again <-chan struct{}) (asked bool) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for settling := false; ; {
		select {
		case <-ctx.Done():
			return false
		case <-again:
			return true
		case <-timer.C:
			return false
		case event := <-e.told:
			if settling || !e.trail.names[filepath.Base(event.Name)] {
				continue
			}
		case <-e.failed: // events may be lost
			if settling {
				continue
			}
		}
		settling = true
		timer.Reset(min(most, settle))
	}
}

// trail is what leads to files.
type trail struct {
	// watched are the files, and the folders in which they and the symbolic links on the
	// way to them have their names.
	watched map[string]fs.FileInfo
	// names are those that matter in the folders, and of the folders themselves. There may
	// be others, of which much is told.
	names map[string]bool
}

// trailOf finds the way to files.
func trailOf(files []string) (trail, error) {
	t := trail{make(map[string]fs.FileInfo), make(map[string]bool)}
	for _, file := range files {
		if err := t.add(file); err != nil {
			return t, err
		}
	}
	return t, nil
}

// maxLinks is how many symbolic links are followed on the way to a file: as many as Linux
// follows.
const maxLinks = 40

// add adds the way to a file.
func (t trail) add(file string) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	for range maxLinks {
		link, target, err := firstLink(path)
		if err != nil {
			return err
		}
		if link == "" {
			// The file, too: one that is mounted by itself has another folder elsewhere.
			return errors.Join(t.watch(filepath.Dir(path)), t.watch(path))
		}
		if err := t.watch(filepath.Dir(link)); err != nil {
			return err
		}
		t.names[filepath.Base(link)] = true
		path = target
	}
	return fmt.Errorf("%s is behind more than %d symbolic links", file, maxLinks)
}

// watch adds what is to be watched.
func (t trail) watch(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	t.watched[path], t.names[filepath.Base(path)] = info, true
	return nil
}

// same reports whether nothing has taken the place of anything.
func (t trail) same(other trail) bool {
	return maps.Equal(t.names, other.names) && maps.EqualFunc(t.watched, other.watched, os.SameFile)
}

// firstLink is the first symbolic link on a path, and the path with that replaced by where
// it leads. It is empty if there is none.
func firstLink(path string) (link, target string, err error) {
	var steps []string
	for step := path; step != filepath.Dir(step); step = filepath.Dir(step) {
		steps = append(steps, step)
	}
	for _, step := range slices.Backward(steps) {
		info, err := os.Lstat(step)
		if err != nil {
			return "", "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(step)
		if err != nil {
			return "", "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(step), target)
		}
		return step, filepath.Join(target, strings.TrimPrefix(path, step)), nil
	}
	return "", "", nil
}
