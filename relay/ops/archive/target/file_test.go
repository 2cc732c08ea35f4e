package target

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

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
		case !d.IsDir() && !validName.MatchString(d.Name()):
			parts++
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return parts
}
