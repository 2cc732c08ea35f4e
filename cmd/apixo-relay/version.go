package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

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

func versionCommand(w world) *cobra.Command {
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
			if err := output.check(); err != nil {
				return usageError{err}
			}
			if output == "json" {
				return json.NewEncoder(w.stdout).Encode(map[string]string{"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			_, err := fmt.Fprintf(w.stdout, "apixo-relay %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	output.add(c.Flags(), "the version")
	return c
}
