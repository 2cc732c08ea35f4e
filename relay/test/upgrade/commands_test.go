//go:build system

package upgrade

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// commands check what others than consumers read, by the commands that are for it.
func (s *store) commands(relay *rig.Relay, where string) {
	s.Helper()
	run := func(args ...string) string {
		s.Helper()
		code, said, err := relay.Command(s.ctx, ofBroker(relay), args...)
		s.must(err)
		if code != 0 {
			s.Errorf("%s: %q ended with exit code %d: %s", where, args, code, said)
		}
		return said
	}
	said := run("replay", "--quarantine", "--from-seq", "1", "--to", "-")
	for _, m := range s.Streams[quarantineStream] {
		if !strings.Contains(said, m.Header[jetstream.MsgIDHeader][0]) {
			s.Errorf("%s: the quarantine's %d is not read: %s", where, m.Sequence, said)
		}
	}
	if len(s.Announced) > 0 {
		said := run("expect", "--list", "--output", "json")
		for _, task := range s.Announced {
			if !strings.Contains(said, fmt.Sprintf(`"taskId":%q`, task)) {
				s.Errorf("%s: %s is announced, and the list is %s", where, task, said)
			}
		}
	}
	if len(s.Files) > 0 {
		out := s.TempDir()
		run(slices.Concat([]string{"fetch", "--out", out}, slices.Collect(maps.Keys(s.Files)))...)
		for task, files := range s.Files {
			for name, want := range files {
				found, err := filepath.Glob(filepath.Join(out, task, "*-"+name))
				s.must(err)
				if len(found) != 1 {
					s.Errorf("%s: %s of %s is not in %q", where, name, task, found)
					continue
				}
				if got, err := os.ReadFile(found[0]); err != nil || !bytes.Equal(got, want) {
					s.Errorf("%s: %s of %s is %q, %v", where, name, task, got, err)
				}
			}
		}
	}
}
