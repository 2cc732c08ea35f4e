package reload

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Where the operating system tells of changes nobody looks at the files until it does, or
// for long, whatever it tells of others in the same folder.
func TestNothingIsDoneMeanwhile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		told  []string
		after time.Duration
	}{
		"nothing is told":       {nil, slow},
		"of others":             {[]string{"/folder/other", "/folder/another"}, slow},
		"of a file":             {[]string{"/folder/other", "/folder/file"}, settle},
		"of its folder":         {[]string{"/folder"}, settle},
		"much, about all files": {[]string{"/folder/file", "/folder/file", "/folder/other", "/folder/file"}, settle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := make(chan fsnotify.Event, len(test.told))
				for _, name := range test.told {
					told <- fsnotify.Event{Name: name, Op: fsnotify.Write}
				}
				e := events{told: told, trail: trail{names: map[string]bool{"folder": true, "file": true}}}
				start := time.Now()
				if e.await(t.Context(), slow, nil) {
					t.Error("nobody has asked")
				}
				if took := time.Since(start); took != test.after {
					t.Errorf("files are looked at after %s, and not after %s", took, test.after)
				}
				if len(told) > 0 {
					t.Errorf("%d events are left", len(told))
				}
			})
		})
	}
}

// What goes on being told of a file does not put off the look at it.
func TestManyChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told := make(chan fsnotify.Event)
		go func() {
			for range 100 {
				select {
				case told <- fsnotify.Event{Name: "/folder/file"}:
					time.Sleep(settle / 10)
				case <-t.Context().Done():
					return
				}
			}
		}()
		e := events{told: told, trail: trail{names: map[string]bool{"file": true}}}
		start := time.Now()
		e.await(t.Context(), slow, nil)
		if took := time.Since(start); took != settle {
			t.Errorf("they are looked at after %s, and not after %s", took, settle)
		}
	})
}
