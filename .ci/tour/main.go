// Command tour follows the README as a new user does, in a fresh clone, and then the pages
// of the commands: it runs every command in them, in order, and holds what they show against
// what comes.
//
//	go run ./.ci/tour
//
// In what the README shows, … stands for anything: within a line, or for any lines
// where it is a line of its own. Times of day are anything, too. What cannot be run
// here, or is run elsewhere, is listed with the reason; anything else is a failure.
package main

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
)

const (
	serve = "go run ./cmd/apixo-relay"
	// patience is for one command, a first build included.
	patience = 5 * time.Minute
)

// pages are those whose commands are run, in this order and in one shell.
var pages = []string{"README.md", "relay/ops/README.md", "relay/ops/ui/README.md"}

// elsewhere are the commands in the pages that are not run here, and why.
var elsewhere = map[string]string{
	"go test ./...": ".ci/run runs it in a step of its own",
	"go test -tags=system ./relay/test/... ./cmd/...": "minutes; .ci/run runs it in a step of its own",
	"bash .ci/run":                     "this is a part of it",
	"go run ./cmd/relay-faults --full": "half an hour; .ci/run runs the short form",
	"go run ./cmd/relay-bench":         "three minutes; its tests run it in a short form",
	"go test -run '^$' -bench . ./schema ./relay/event ./relay/receiver ./relay/durable": "as a benchmark of one round, by .ci/run",
}

func main() {
	if err := tour(); err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(1)
	}
}

func tour() error {
	root, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "tour")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	clone := filepath.Join(work, "clone")
	if out, err := exec.Command("git", "clone", "-q", strings.TrimSpace(string(root)), clone).CombinedOutput(); err != nil {
		return fmt.Errorf("git clone: %w\n%s", err, out)
	}
	if err := links(clone); err != nil {
		return err
	}
	api := httptest.NewServer(fakeapi.New("key-of-the-tour"))
	defer api.Close()
	v := &visitor{dir: clone, environ: environ(work, api.URL)}
	if v.shell, err = v.openShell(); err != nil {
		return err
	}
	defer v.leave()
	for _, page := range pages {
		if err := v.read(filepath.Join(clone, page)); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	return v.stop()
}

// environ is that of a user who has set nothing, with programs that he installs, and
// APIXO's status API.
func environ(work, api string) (vars []string) {
	bin := filepath.Join(work, "bin")
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !slices.ContainsFunc([]string{"RELAY_", "NATS_", "OTEL_", "APIXO_", "PATH", "GOBIN"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			vars = append(vars, entry)
		}
	}
	return append(vars, "GOBIN="+bin, "PATH="+bin+":"+os.Getenv("PATH"), "APIXO_BASE_URL="+api, "APIXO_API_KEY=key-of-the-tour")
}

// visitor is somebody who follows the README.
type visitor struct {
	dir     string
	environ []string
	shell   *shell
	relay   *process
	curl    string // as the relay printed it
}

// read does what a page shows: its blocks, and then the commands within its text.
func (v *visitor) read(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	for _, b := range blocks(string(text)) {
		if err := v.follow(b); err != nil {
			return err
		}
	}
	for _, command := range inline(string(text)) {
		if err := v.try(command, nil); err != nil {
			return err
		}
	}
	return nil
}

// follow does what a block shows.
func (v *visitor) follow(b block) error {
	if b.language == "sh" {
		for _, line := range b.lines {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				if err := v.try(line, nil); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if b.language != "" {
		return nil // source, which is no command
	}
	if strings.HasPrefix(b.lines[0], `{"taskId"`) {
		for _, receipt := range b.lines { // of the line that the relay printed
			if err := v.try(v.curl, []string{receipt}); err != nil {
				return err
			}
		}
		return nil
	}
	for i := 0; i < len(b.lines); {
		command, ok := strings.CutPrefix(b.lines[i], "$ ")
		if i++; !ok {
			continue // a picture
		}
		shown := []string{}
		for ; i < len(b.lines) && !strings.HasPrefix(b.lines[i], "$ "); i++ {
			if b.lines[i] != "" || command == serve {
				shown = append(shown, b.lines[i])
			}
		}
		if err := v.try(command, shown); err != nil {
			return err
		}
	}
	return nil
}

// try runs a command, and wants what is shown, if anything is.
func (v *visitor) try(command string, shown []string) error {
	if why, ok := elsewhere[command]; ok {
		fmt.Printf("–  %s: %s\n", command, why)
		return nil
	}
	began := time.Now()
	said, err := v.run(command, shown)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, said)
	}
	if shown != nil && !expression(shown).MatchString(said) {
		return fmt.Errorf("%s: the page shows\n%s\nand it says\n%s", command, strings.Join(shown, "\n"), said)
	}
	fmt.Printf("ok %s (%.1f s)\n", command, time.Since(began).Seconds())
	return nil
}

func (v *visitor) run(command string, shown []string) (said string, err error) {
	switch {
	case command == serve:
		return v.serve(shown != nil)
	case regexp.MustCompile(`\btail\b|\bapixo-relay ui\b| --follow\b`).MatchString(command) && !strings.Contains(command, "-h"):
		// It goes on until somebody ends it.
		p, err := v.start(command)
		if err != nil {
			return "", err
		}
		want := regexp.MustCompile(`.`)
		if shown != nil {
			want = expression(shown)
		}
		said, err := p.await(want)
		return said, errors.Join(err, p.end())
	}
	return v.shell.run(command)
}

// serve starts the relay as the README says. The first time it is stopped again, the
// second time, where its words are shown, it stays.
func (v *visitor) serve(stays bool) (said string, err error) {
	p, err := v.start(serve)
	if err != nil {
		return "", err
	}
	said, err = p.await(regexp.MustCompile(`(?s)tail --since 1h\n\n$`))
	if err != nil || !stays {
		return said, errors.Join(err, p.stop())
	}
	v.relay = p
	v.curl = regexp.MustCompile(`(?m)^  (curl .*)$`).FindStringSubmatch(said)[1]
	// What comes before is the log.
	return said[strings.Index(said, "\napixo-relay ")+1:], nil
}

// stop ends the relay in order, as Ctrl-C does.
func (v *visitor) stop() error {
	p := v.relay
	v.relay = nil
	return p.stop()
}

// leave ends what is still there.
func (v *visitor) leave() {
	v.shell.in.Close()
	_ = v.shell.cmd.Wait() // it has been asked to end, and nobody asks how it did
	if v.relay != nil {
		_ = v.relay.end()
	}
}
