package archive

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fsnotify/fsnotify"
)

// renames counts how often each file below a folder has got its name.
type renames struct {
	mu     sync.Mutex
	counts map[string]int
}

// watched is a file in each folder that is watched.
const watched = ".watched"

// watchRenames makes the folders of tasks, since one that is made later has files before anybody
// can watch it.
func watchRenames(t testing.TB, dir string, tasks []string) *renames {
	t.Helper()
	watcher, err := fsnotify.NewBufferedWatcher(1 << 14)
	if err != nil {
		t.Fatal(err)
	}
	r, done := &renames{counts: make(map[string]int)}, make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case event, open := <-watcher.Events:
				if !open {
					return
				}
				if name, _ := filepath.Rel(dir, event.Name); event.Has(fsnotify.Create) && !strings.HasPrefix(filepath.Base(name), ".") {
					r.mu.Lock()
					r.counts[filepath.ToSlash(name)]++
					r.mu.Unlock()
				}
			case err, open := <-watcher.Errors:
				if open {
					t.Error(err)
				}
			}
		}
	}()
	t.Cleanup(func() {
		_ = watcher.Close()
		<-done
	})
	for _, task := range tasks {
		task = filepath.Join(dir, task)
		if err := os.MkdirAll(task, 0o700); err != nil {
			t.Fatal(err)
		}
		// So that nobody removes it for being empty.
		if err := os.WriteFile(filepath.Join(task, watched), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := watcher.Add(task); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// Counts are those so far, by key.
func (r *renames) Counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}
