package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

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

// Write implements io.Writer.
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
