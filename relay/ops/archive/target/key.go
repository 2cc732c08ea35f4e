package target

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// maxName is what a file's name can have in bytes, and maxExtension what is kept of it at the
// end where it has more.
const (
	maxName      = 100
	maxExtension = 16
)

var numberedName = regexp.MustCompile(`^[0-9]{2,}-[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// validName reports whether a name can be the last segment of a key.
func validName(name string) bool {
	_, own, _ := strings.Cut(name, "-")
	return len(own) <= maxName && numberedName.MatchString(name)
}

// Key returns the key of the nth file of a task, from 1, that an address has: TASK/NN-name.
// Name is the last segment of the address's path, with letters, digits and . _ - and no dot at
// its beginning, whatever stands in the address. The id must be one (see schema.ValidTaskID).
func Key(taskID string, n int, address string) string {
	return fmt.Sprintf("%s/%02d-%s", folderOf(taskID), n, fileName(address))
}

// folderOf writes the dot as =2E with which an id can begin, and which would hide a folder or,
// as in the id .., lead out of it. An id has no = in it.
func folderOf(taskID string) string {
	if rest, ok := strings.CutPrefix(taskID, "."); ok {
		return "=2E" + rest
	}
	return taskID
}

func fileName(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "file"
	}
	_, name := cutLast(u.EscapedPath())
	if decoded, err := url.PathUnescape(name); err == nil {
		name = decoded
	}
	name = strings.TrimLeft(strings.Map(safe, name), ".")
	if len(name) > maxName {
		extension := path.Ext(name)
		if len(extension) > maxExtension {
			extension = ""
		}
		name = name[:maxName-len(extension)] + extension
	}
	if name == "" {
		return "file"
	}
	return name
}

func safe(c rune) rune {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		return c
	}
	return '_'
}
