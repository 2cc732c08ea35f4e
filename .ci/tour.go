// Command tour follows the README as a new user does, in a fresh clone: it runs
// every command in it, in order, and holds what the README shows against what comes.
//
//	go run .ci/tour.go
//
// In what the README shows, … stands for anything: within a line, or for any lines
// where it is a line of its own. Times of day are anything, too. What cannot be run
// here, or is run elsewhere, is listed with the reason; anything else is a failure.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/backfill/fakeapi"
)

const (
	serve = "go run ./cmd/apixo-relay"
	// patience is for one command, a first build included.
	patience = 5 * time.Minute
)

// elsewhere are the commands in the README that are not run here, and why.
var elsewhere = map[string]string{
	"go test ./...":                    ".ci/run runs it last",
	"bash .ci/run":                     "this is a part of it",
	"go run ./cmd/relay-faults --full": "half an hour; .ci/run runs the short form",
	"go run ./cmd/relay-bench":         "two minutes; its tests run it in a short form",
	"go test -run '^$' -bench . ./schema ./relay/event ./relay/receiver ./relay/groupcommit": "as a benchmark of one round, by .ci/run",
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
	readme, err := os.ReadFile(filepath.Join(clone, "README.md"))
	if err != nil {
		return err
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
	for _, b := range blocks(string(readme)) {
		if err := v.follow(b); err != nil {
			return err
		}
	}
	for _, command := range inline(string(readme)) {
		if err := v.try(command, nil); err != nil {
			return err
		}
	}
	return v.stop()
}

// links holds the links within the pages of the repository against what is there.
func links(root string) error {
	out, err := exec.Command("git", "-C", root, "ls-files", "*.md").Output()
	if err != nil {
		return err
	}
	link := regexp.MustCompile(`\]\(([^)\s]*)\)`)
	var broken []error
	for _, page := range strings.Fields(string(out)) {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := filepath.Join(root, page)
			if file != "" {
				target = filepath.Join(root, filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				broken = append(broken, fmt.Errorf("%s: %w", page, err))
				continue
			}
			if anchor != "" && !slices.Contains(anchors(target), anchor) {
				broken = append(broken, fmt.Errorf("%s: there is no #%s in %s", page, anchor, target))
			}
		}
	}
	return errors.Join(broken...)
}

// anchors are those of a page, as GitHub makes them of headings, and those it names.
func anchors(page string) (all []string) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		kept := regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(kept, " ", "-"))
	}
	for _, m := range regexp.MustCompile(`<a id="([^"]*)">`).FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	return all
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

// block is a fenced block of the README.
type block struct {
	language string
	lines    []string
}

func blocks(text string) (all []block) {
	var b *block
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch fence, isFence := strings.CutPrefix(line, "```"); {
		case isFence && b == nil:
			b = &block{language: fence}
		case isFence:
			all, b = append(all, *b), nil
		case b != nil:
			b.lines = append(b.lines, line)
		}
	}
	return all
}

// inline are the commands of this repository that stand in a line of text.
func inline(text string) (commands []string) {
	fenced := regexp.MustCompile("(?s)\n```.*?\n```")
	for _, m := range regexp.MustCompile("`((?:apixo-relay|go|bash) [^`]+)`").FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if !slices.Contains(commands, m[1]) {
			commands = append(commands, m[1])
		}
	}
	return commands
}

// visitor is somebody who follows the README.
type visitor struct {
	dir     string
	environ []string
	shell   *shell
	relay   *process
	curl    string // as the relay printed it
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
		return fmt.Errorf("%s: the README shows\n%s\nand it says\n%s", command, strings.Join(shown, "\n"), said)
	}
	fmt.Printf("ok %s (%.1f s)\n", command, time.Since(began).Seconds())
	return nil
}

func (v *visitor) run(command string, shown []string) (said string, err error) {
	switch {
	case command == serve:
		return v.serve(shown != nil)
	case regexp.MustCompile(`\btail\b`).MatchString(command) && !strings.Contains(command, "-h"):
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

// expression is what the README shows as a regular expression for all that is said.
func expression(shown []string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for _, line := range shown {
		if line == "…" {
			b.WriteString(`(.*\n)?`)
			continue
		}
		line = regexp.QuoteMeta(line)
		line = strings.ReplaceAll(line, "…", `[^\n]*`)
		line = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`).ReplaceAllLiteralString(line, `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
		b.WriteString(line + `\n`)
	}
	return regexp.MustCompile(b.String() + `\n*$`)
}

// shell is a terminal that stays open, so that what is exported stays.
type shell struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (v *visitor) openShell() (*shell, error) {
	cmd := exec.Command("bash")
	cmd.Dir, cmd.Env = v.dir, append(v.environ, "CALLBACK_URL=http://127.0.0.1:8720/webhook/apixo")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	return &shell{cmd, in, bufio.NewReader(out)}, cmd.Start()
}

// mark ends what a command says, with its exit code.
const mark = "the-tour-goes-on"

func (s *shell) run(command string) (said string, err error) {
	late := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	if _, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null 2>&1\nprintf '%%s %%s\\n' %s $?\n", command, mark); err != nil {
		return "", err
	}
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return said, fmt.Errorf("the shell ended: %w", err)
		}
		before, code, ended := strings.Cut(line, mark+" ")
		if said += before; !ended {
			continue
		}
		if code != "0\n" {
			return said, fmt.Errorf("exit code %s", strings.TrimSpace(code))
		}
		return said, nil
	}
}

// process is a command that does not end by itself.
type process struct {
	cmd    *exec.Cmd
	mu     sync.Mutex
	text   bytes.Buffer
	news   chan struct{}
	exited chan error
}

func (v *visitor) start(command string) (*process, error) {
	p := &process{cmd: exec.Command("bash", "-c", command), news: make(chan struct{}, 1), exited: make(chan error, 1)}
	p.cmd.Dir, p.cmd.Env = v.dir, append(v.environ, "RELAY_LOG_FORMAT=text")
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a terminal gives it, for Ctrl-C
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.exited <- p.cmd.Wait() }()
	return p, nil
}

// Write is part of io.Writer.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default:
	}
	return p.text.Write(b)
}

// await waits until what it has said is as expected.
func (p *process) await(expected *regexp.Regexp) (said string, err error) {
	late := time.After(patience)
	for {
		p.mu.Lock()
		said = p.text.String()
		p.mu.Unlock()
		if expected.MatchString(said) {
			return said, nil
		}
		select {
		case <-p.news:
		case err := <-p.exited:
			p.exited <- err
			return said, fmt.Errorf("it ended: %w", err)
		case <-late:
			return said, fmt.Errorf("not as the README shows it within %v", patience)
		}
	}
}

// stop is end for a relay, which says how it ended.
func (p *process) stop() error {
	if err := p.end(); err != nil {
		return err
	}
	if said := p.text.String(); !strings.Contains(said, "msg=stopped\n") {
		return fmt.Errorf("the relay did not end in order:\n%s", said)
	}
	return nil
}

// end is Ctrl-C. 'go run' has exit code 1 then, however well the program ends.
func (p *process) end() error {
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT); err != nil {
		return err
	}
	select {
	case err := <-p.exited:
		if err != nil && err.Error() != "exit status 1" {
			return fmt.Errorf("after Ctrl-C: %w", err)
		}
		return nil
	case <-time.After(time.Minute):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		return errors.New("it does not end after Ctrl-C")
	}
}
