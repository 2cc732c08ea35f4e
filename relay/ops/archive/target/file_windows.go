package target

import (
	"os"
	"path/filepath"
	"strings"
)

// nativePath makes C:\dir of /C:/dir.
func nativePath(folder string) string {
	return filepath.FromSlash(strings.TrimPrefix(folder, "/"))
}

// nativeKey writes what no name may have there: the colon of a task's id, and a dot at the end.
func nativeKey(key string) string {
	segments := strings.Split(strings.ReplaceAll(key, ":", "=3A"), "/")
	for i, s := range segments {
		if rest, ok := strings.CutSuffix(s, "."); ok {
			segments[i] = rest + "=2E"
		}
	}
	return strings.Join(segments, "/")
}

// syncFolder does nothing: a folder cannot be flushed there, and NTFS keeps names in its journal.
func syncFolder(*os.File) error { return nil }
