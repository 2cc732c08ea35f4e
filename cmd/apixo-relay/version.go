package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
)

// These are set by release builds: -ldflags "-X main.linkedVersion=v1.2.3". What is empty, the
// build tells of the repository that it was made in, if it was.
var (
	linkedVersion string
	linkedCommit  string
	linkedDate    string // of the commit, as in RFC 3339
)

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
	revision, modified := commit(), ""
	if len(revision) >= 12 {
		revision = "-" + revision[:12]
	}
	if buildSetting("vcs.modified") == "true" {
		modified = "-modified"
	}
	return "devel" + revision + modified
}

// commit is that of the repository, or empty if it is not known.
func commit() string {
	if linkedCommit != "" {
		return linkedCommit
	}
	return buildSetting("vcs.revision")
}

// commitDate is the time of the commit; zero if it is not known.
func commitDate() time.Time {
	text := linkedDate
	if text == "" {
		text = buildSetting("vcs.time")
	}
	at, _ := time.Parse(time.RFC3339, text) // the zero time if it is none
	return at
}

// buildSetting is what the go command has noted of the build; empty if it has not.
func buildSetting(key string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// released is a time before that of every build of this program: for those that were
// made without a repository and so do not know theirs. A release may raise it.
var released = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// built is when this program was made, or a time before that.
func built() time.Time {
	if at := commitDate(); at.After(released) {
		return at
	}
	return released
}

// versionReport is what the command tells, as JSON.
type versionReport struct {
	Version string `json:"version"`
	// Commit and Date are left out where the build knows nothing of a repository.
	Commit     string        `json:"commit,omitempty"`
	Date       *time.Time    `json:"date,omitempty"`
	Go         string        `json:"go"`
	NATSServer string        `json:"natsServer"`
	OS         string        `json:"os"`
	Arch       string        `json:"arch"`
	Stores     []storeReport `json:"stores"`
}

// storeReport is what is known of a store in RELAY_DATA_DIR.
type storeReport struct {
	Path string `json:"path"`
	// Version is that of the program that has opened it last; empty for one of before v1.0.0.
	Version string `json:"version,omitempty"`
	Format  int    `json:"format,omitempty"`
	// Server is the version of the nats-server in it.
	Server string `json:"natsServer,omitempty"`
	// Newer: a newer version has written it, so that this one refuses it.
	Newer bool `json:"newer"`
	// Error says why it is refused, and what to do; empty if it is not.
	Error string `json:"error,omitempty"`
}

func (w cliEnv) versionReport() versionReport {
	r := versionReport{
		Version: version(), Commit: commit(), Go: runtime.Version(), NATSServer: server.VERSION, OS: runtime.GOOS, Arch: runtime.GOARCH,
		Stores: []storeReport{},
	}
	if at := commitDate(); !at.IsZero() {
		r.Date = &at
	}
	// Whatever is wrong with other settings.
	own := slices.DeleteFunc(slices.Clone(w.environ), func(entry string) bool { return !strings.HasPrefix(entry, "RELAY_DATA_DIR=") })
	cfg, err := config.Load(own)
	if err != nil {
		return r // which 'check' explains
	}
	for _, s := range broker.Stores(cfg.Embedded.DataDir) {
		report := storeReport{Path: s.Dir}
		if s.Version != nil {
			report.Version, report.Format, report.Server = s.Version.Program, s.Version.Format, s.Version.Server
		}
		if s.Err != nil {
			_, report.Newer = errors.AsType[*broker.NewerStoreError](s.Err)
			report.Error = s.Err.Error()
		}
		r.Stores = append(r.Stores, report)
	}
	return r
}

func (r versionReport) writeText(w io.Writer) error {
	text := fmt.Sprintf("apixo-relay %s (%s, %s/%s)\n", r.Version, r.Go, r.OS, r.Arch)
	if r.Commit != "" {
		text += fmt.Sprintf("commit       %s", r.Commit)
		if r.Date != nil {
			text += ", " + r.Date.UTC().Format(time.RFC3339)
		}
		text += "\n"
	}
	text += fmt.Sprintf("nats-server  %s\n", r.NATSServer)
	for _, s := range r.Stores {
		switch {
		case s.Error != "":
			text += fmt.Sprintf("store        %s: %s\n", s.Path, s.Error)
		case s.Version == "":
			text += fmt.Sprintf("store        %s: of a version before v1.0.0\n", s.Path)
		default:
			text += fmt.Sprintf("store        %s: format %d, opened last by %s with nats-server %s\n", s.Path, s.Format, s.Version, s.Server)
		}
	}
	_, err := io.WriteString(w, text)
	return err
}

func versionCommand(w cliEnv) *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Prints the version of the relay, its commit, the Go toolchain that built it and the
NATS server inside it. Of the stores in RELAY_DATA_DIR it tells which version has
opened them last, and whether that is a newer one, whose store this one refuses.

Exit codes: 0 done, 2 wrong usage.`,
		Example: `  # for a report
  apixo-relay version

  # for a script
  apixo-relay version --output json

  # the version alone
  apixo-relay version | head -n 1 | cut -d ' ' -f 2`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			report := w.versionReport()
			if output == outputJSON {
				return json.NewEncoder(w.stdout).Encode(report)
			}
			return report.writeText(w.stdout)
		},
	}
	output.add(c.Flags(), "the version")
	return c
}
