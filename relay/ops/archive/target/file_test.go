package target_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target/targettest"
)

func TestFolder(t *testing.T) {
	t.Parallel()
	targettest.Run(t, func(t *testing.T) targettest.Stand {
		parent := t.TempDir()
		dir := filepath.Join(parent, "a b", "files")
		return targettest.Stand{
			Name: "file://" + filepath.ToSlash(parent) + "/a%20b/files", Part: 128 << 10,
			Leftovers: func(t *testing.T) int { return countParts(t, dir) },
		}
	})
}

// countParts counts what is in a folder besides whole files and the folders that have some.
func countParts(t *testing.T, dir string) (parts int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != dir:
			if entries, err := os.ReadDir(name); err != nil || len(entries) == 0 {
				t.Errorf("the folder %s is empty, %v", name, err)
			}
		case !d.IsDir() && d.Name()[0] == '.':
			parts++
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return parts
}
