package reload_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/reload"
	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// watch watches files and passes on what they hold, one after the other, at
// each change; an apply that reads "bad" fails.
func watch(t *testing.T, files ...string) (seen <-chan string) {
	t.Helper()
	return watchAgain(t, nil, files...)
}

// watchAgain is watch with a channel that has the files applied.
func watchAgain(t *testing.T, again <-chan struct{}, files ...string) (seen <-chan string) {
	t.Helper()
	applied := make(chan string, 16)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		reload.Watch(ctx, reload.Config{Name: "test", Files: files, Reload: again, Apply: func() (err error) {
			var contents []byte
			for _, file := range files {
				content, readErr := os.ReadFile(file)
				contents, err = append(contents, content...), errors.Join(err, readErr)
			}
			if string(contents) == "bad" {
				err = errors.New("bad")
			}
			applied <- string(contents)
			return err
		}}, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return applied
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// expect waits for what is applied next, which must hold a content, and be applied as
// soon as files are looked at again.
func expect(t *testing.T, seen <-chan string, want string) {
	t.Helper()
	select {
	case got := <-seen:
		if got != want {
			t.Errorf("%q was taken up, want %q", got, want)
		}
	case <-time.After(reload.Interval + time.Millisecond):
		t.Fatalf("%q was not taken up", want)
	}
}

func TestEveryWayOfReplacingAFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "file")
		write(t, file, "first")
		seen := watch(t, file)

		write(t, file, "written in place")
		expect(t, seen, "written in place")

		next := filepath.Join(dir, "next")
		write(t, next, "renamed over it")
		if err := os.Rename(next, file); err != nil {
			t.Fatal(err)
		}
		expect(t, seen, "renamed over it")

		// An error keeps it watching.
		write(t, file, "bad")
		expect(t, seen, "bad")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		write(t, file, "made anew")
		expect(t, seen, "made anew")
	})
}

// Kubernetes mounts a secret as a link to a folder, and changes it by swapping
// another link in between: the file's own name never changes.
func TestSwappedFolder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, version := range []string{"v1", "v2"} {
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, version, "token"), version)
		}
		link := func(target, name string) {
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		link("v1", "..data")
		link(filepath.Join("..data", "token"), "token")
		seen := watch(t, filepath.Join(dir, "token"))
		link("v2", "..data_tmp")
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		expect(t, seen, "v2")
	})
}

// What changed after the files were read and before they were watched is taken
// up too: nothing tells of it later.
func TestFilesAreTakenUpAtFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, "changed meanwhile")
		expect(t, watch(t, file), "changed meanwhile")
	})
}

// Each of several files counts, and so does which of them holds what.
func TestSeveralFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
		write(t, cert, "a")
		seen := watch(t, cert, key)
		expect(t, seen, "a")
		if err := os.Rename(cert, key); err != nil {
			t.Fatal(err)
		}
		expect(t, seen, "a")
		write(t, cert, "b")
		expect(t, seen, "ba")
		write(t, key, "c")
		expect(t, seen, "bc")
	})
}

// Whoever asks has files applied that have not changed, too.
func TestFilesAreAppliedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, "the same")
		again := make(chan struct{}, 1)
		seen := watchAgain(t, again, file)
		expect(t, seen, "the same")
		for range 3 {
			again <- struct{}{}
			expect(t, seen, "the same")
		}
	})
}
