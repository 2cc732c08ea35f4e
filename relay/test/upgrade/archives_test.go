package upgrade

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func archiveOf(v Version) string { return filepath.Join("testdata", v.Name+".tar.gz") }

// maxArchive keeps what every clone has small, in bytes.
const maxArchive = 50_000

// Each version has an archive that holds what has to be tried, and each archive is tried.
func TestEachVersionHasAnArchive(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(archiveOf(Version{Name: "*"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range Versions {
		if !slices.Contains(files, archiveOf(v)) {
			t.Errorf("%s has no archive: see README.md", v.Name)
			continue
		}
		files = slices.DeleteFunc(files, func(f string) bool { return f == archiveOf(v) })
		if info, err := os.Stat(archiveOf(v)); err != nil || info.Size() > maxArchive {
			t.Errorf("the archive of %s has %d bytes, and may have %d: %v", v.Name, info.Size(), maxArchive, err)
		}
		dir := t.TempDir()
		if err := Unpack(archiveOf(v), dir); err != nil {
			t.Fatal(err)
		}
		m, err := ReadManifest(dir)
		if err != nil {
			t.Fatal(err)
		}
		events, quarantined := m.Streams[eventStream], m.Streams[quarantineStream]
		if m.Version != v.Name || len(m.Webhooks) < len(events) || len(events) < smallTasks || len(quarantined) < 3 || len(m.Waiting) < 10 || len(m.Consumer.Acknowledged) == 0 || len(m.Consumer.Acknowledged) >= len(events) {
			t.Errorf("the archive of %s is of %s and holds %d events, %d kept, %d waiting, of %d webhooks; its consumer has %v", v.Name, m.Version, len(events), len(quarantined), len(m.Waiting), len(m.Webhooks), m.Consumer.Acknowledged)
		}
	}
	if len(files) > 0 {
		t.Errorf("archives of no version that is tried: %q", files)
	}
}

// A release that the README tells of is one that stores have to be exchanged with.
func TestEachReleaseIsTried(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, changes, _ := strings.Cut(string(text), "\n## Changes\n")
	changes, _, _ = strings.Cut(changes, "\n## ")
	for line := range strings.Lines(changes) {
		name, ok := strings.CutPrefix(line, "### v")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
		if !slices.ContainsFunc(Versions, func(v Version) bool { return v.Name == "v"+name }) {
			t.Errorf("v%s has no archive: see README.md", name)
		}
	}
}

// What is packed comes out again, and the same files make the same archive.
func TestPackAndUnpack(t *testing.T) {
	t.Parallel()
	dir, to := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "$G"), 0o700); err != nil {
		t.Fatal(err)
	}
	content := []byte("\x00content")
	if err := os.WriteFile(filepath.Join(dir, "a", "$G", "1.blk"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	var packed [2][]byte
	for i := range packed {
		file := filepath.Join(t.TempDir(), "a.tar.gz")
		if err := Pack(dir, file); err != nil {
			t.Fatal(err)
		}
		var err error
		if packed[i], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := Unpack(file, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !bytes.Equal(packed[0], packed[1]) {
		t.Error("the same files make two archives")
	}
	if got, err := os.ReadFile(filepath.Join(to, "a", "$G", "1.blk")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%q came out, %v", got, err)
	}
}
