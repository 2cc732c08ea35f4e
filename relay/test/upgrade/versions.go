package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// Version is a version of the program that others have run.
type Version struct {
	// Name is that of its archive, and what a program that is built of it calls itself.
	Name string
	// Revision is its tag or commit.
	Revision string
}

// Versions are those that stores have to be exchanged with, oldest first. Each has an archive.
var Versions = []Version{
	{"3101f3f", "3101f3fd592e012d510ccf6f694c57a4db6a8d28"}, // whose stores do not tell their version
	{"v1.0.0", "v1.0.0"},
}

// Before builds the newest version that the history of the repository in dir has before the
// commit that is checked out there, and returns it with its program. The error is a
// [*rig.NoRevisionError] if there is none.
func Before(ctx context.Context, programs *rig.Programs, dir string) (v Version, program string, err error) {
	head, err := rig.Commit(ctx, dir, "HEAD")
	if err != nil {
		return v, "", err
	}
	var missing error
	for _, v = range slices.Backward(Versions) {
		commit, err := rig.Commit(ctx, dir, v.Revision)
		if commit == head { // which is being released
			err = &rig.NoRevisionError{Revision: v.Revision, Err: errors.New("it is what is tried")}
		}
		if _, absent := errors.AsType[*rig.NoRevisionError](err); absent {
			missing = errors.Join(missing, err)
			continue
		}
		if err != nil {
			return v, "", err
		}
		program, err = programs.BuildVersion(ctx, dir, commit, v.Name)
		return v, program, err
	}
	return v, "", fmt.Errorf("no earlier version can be built: %w", missing)
}
