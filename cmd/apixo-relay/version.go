package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// linkedVersion is set by release builds: -ldflags "-X main.linkedVersion=v1.2.3".
var linkedVersion string

// version is the release, or else what the build knows of its origin.
func version() string {
	if linkedVersion != "" {
		return linkedVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = "-" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "-modified"
		}
	}
	return "devel" + revision + modified
}

// released is a time before that of every build of this program: for those that were
// made without a repository and so do not know theirs. A release may raise it.
var released = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// built is when this program was made, or a time before that.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return released
	}
	for _, s := range info.Settings {
		if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil && at.After(released) {
			return at
		}
	}
	return released
}

func versionCommand(w cliEnv) *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Prints the version of the relay and of the Go toolchain that built it.

Exit codes: 0 done, 2 wrong usage.`,
		Example: `  # for a report
  apixo-relay version

  # for a script
  apixo-relay version --output json

  # the version alone
  apixo-relay version | cut -d ' ' -f 2`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if output == outputJSON {
				return json.NewEncoder(w.stdout).Encode(map[string]string{"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			_, err := fmt.Fprintf(w.stdout, "apixo-relay %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	output.add(c.Flags(), "the version")
	return c
}
