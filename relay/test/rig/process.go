package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// Process is a running program, or one that has ended, and what it has logged.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and all it wrote is in lines
	log  logReader

	mu     sync.Mutex
	lines  []string
	rest   []byte        // the beginning of a line
	read   int           // as many lines have Await gone past
	change chan struct{} // closed, and made anew, with every line
}

// nothing is the signal that only looks whether a process is there.
const nothing = syscall.Signal(0)

// startProcess starts a program, whose standard input is a terminal if there is one.
func startProcess(name, program, dir string, args, environ []string, terminal *os.File) (*Process, error) {
	p := &Process{name: name, cmd: exec.Command(program, args...), done: make(chan struct{}), change: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = environ
	p.cmd.Stdout, p.cmd.Stderr = (*logWriter)(p), (*logWriter)(p)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	endWithParent(p.cmd.SysProcAttr)
	if terminal != nil {
		p.cmd.Stdin = terminal
		onTerminal(p.cmd.SysProcAttr)
	}
	started := make(chan error)
	go func() {
		// To the kernel the parent is a thread, which has to last as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s cannot be started: %w", name, err)
	}
	return p, nil
}

// Name says what was started: "relay", or the name of a server.
func (p *Process) Name() string { return p.name }

// Signal sends a signal to the process.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%s does not get the signal %q: %w", p.name, s, err)
	}
	return nil
}

// Kill ends the process without a chance to do anything more (SIGKILL), and
// returns when it has ended. It may have ended before.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // an error says that it has ended
	<-p.done
}

// Wait waits for the end of the process and returns its exit code, which is -1
// if a signal ended it.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s does not end: %w", p.name, context.Cause(ctx))
	}
}

// Log is all that the process has written so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// lastLines are as much of the log as an error can carry.
func (p *Process) lastLines() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines[max(0, len(p.lines)-20):], "\n")
}

// Await waits for a line that match takes, and returns it. The next call looks
// at what comes after that line.
func (p *Process) Await(ctx context.Context, what string, match func(line string) bool) (string, error) {
	for looked := 0; ; {
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		line, change, ok := p.next(&looked, match)
		if ok {
			return line, nil
		}
		if ended {
			return "", fmt.Errorf("%s ended (%v) and had not logged %s; its last lines:\n%s", p.name, p.cmd.ProcessState, what, p.lastLines())
		}
		select {
		case <-change:
		case <-p.done:
		case <-ctx.Done():
			return "", fmt.Errorf("%s does not log %s: %w; its last lines:\n%s", p.name, what, context.Cause(ctx), p.lastLines())
		}
	}
}

// AwaitText waits for a line that contains a text.
func (p *Process) AwaitText(ctx context.Context, text string) error {
	_, err := p.Await(ctx, fmt.Sprintf("%q", text), func(line string) bool { return strings.Contains(line, text) })
	return err
}

// SkipLog makes the next Await look at new lines only.
func (p *Process) SkipLog() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read = len(p.lines)
}

// next finds the first new line that matches. Those before looked have been looked at
// and do not: under load, to look at them again with each line that comes would hold up
// the log.
func (p *Process) next(looked *int, match func(string) bool) (line string, change <-chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := max(p.read, *looked); i < len(p.lines); i++ {
		if match(p.lines[i]) {
			p.read = i + 1
			return p.lines[i], nil, true
		}
	}
	*looked = len(p.lines)
	return "", p.change, false
}
