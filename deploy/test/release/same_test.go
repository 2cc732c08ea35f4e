package release

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// One commit, released in two folders, by two users, in two time zones: the same bytes.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	config := oneTarget(t)
	one, other := checkout(t, "022"), checkout(t, "077")
	if a, b := shell(t, one, "git rev-parse HEAD"), shell(t, other, "git rev-parse HEAD"); a != b {
		t.Fatalf("the commits are not the same: %s, %s", a, b)
	}
	for dir, zone := range map[string]string{one: "UTC", other: "Asia/Tokyo"} {
		goreleaser(t, dir, []string{"TZ=" + zone}, "release", "--clean", "--config", config, "--skip=publish,docker,sign")
	}
	first, second := artifacts(t, one), artifacts(t, other)
	names := slices.Sorted(maps.Keys(first))
	if also := slices.Sorted(maps.Keys(second)); !slices.Equal(names, also) {
		t.Fatalf("not the same files: %v, %v", names, also)
	}
	for _, name := range names {
		if !bytes.Equal(first[name], second[name]) {
			t.Errorf("%s has other bytes in another folder", name)
		}
	}
	prefix := "apixo-relay_" + version + "_linux_" + runtime.GOARCH
	want := []string{prefix + ".tar.gz", prefix + ".cdx.json", "checksums.txt", "homebrew/Casks/apixo-relay.rb"}
	for _, name := range want {
		if _, made := first[name]; !made {
			t.Errorf("there is no %s, but %v", name, names)
		}
	}
	for _, kind := range []string{".deb", ".rpm"} {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, kind) }) {
			t.Errorf("there is no %s, but %v", kind, names)
		}
	}
	if t.Failed() {
		return
	}
	t.Run("checksums", func(t *testing.T) { checkChecksums(t, first) })
	t.Run("archive", func(t *testing.T) { checkArchive(t, one, first[prefix+".tar.gz"]) })
	t.Run("what is in it", func(t *testing.T) { checkSBOM(t, first[prefix+".cdx.json"]) })
	t.Run("cask", func(t *testing.T) {
		checkCask(t, string(first["homebrew/Casks/apixo-relay.rb"]), prefix+".tar.gz", first[prefix+".tar.gz"])
	})
}

// artifacts returns what a release has made, without what it notes about itself and without
// the programs, which are in the archives.
func artifacts(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	made := map[string][]byte{}
	dist := filepath.Join(dir, ".release", "dist")
	err := filepath.WalkDir(dist, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, dist+"/")
		if name == "config.yaml" || name == "metadata.json" || name == "artifacts.json" || filepath.Base(name) == "apixo-relay" {
			return nil
		}
		made[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// checkChecksums wants a line for each file that is published, and the right one.
func checkChecksums(t *testing.T, made map[string][]byte) {
	want := []string{}
	for name, content := range made {
		if name != "checksums.txt" && !strings.HasPrefix(name, "homebrew/") {
			want = append(want, fmt.Sprintf("%x  %s", sha256.Sum256(content), name))
		}
	}
	got := strings.Split(strings.TrimSpace(string(made["checksums.txt"])), "\n")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("checksums.txt has\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
