package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// startTimeout is far more than any of the programs needs to be ready, be its
	// store as large as it may.
	startTimeout = 5 * time.Minute

	// stopTimeout is what a program has for an orderly end: more than the relay
	// gives itself.
	stopTimeout = 30 * time.Second

	// readyPause is how precisely the time to readiness is known.
	readyPause = time.Millisecond
)

// process is a program that is measured, or that is needed for that.
type process struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.Closer
	log     string // the file that has all that it writes
	cancel  context.CancelFunc
	done    chan struct{}     // closed when it has ended
	ready   map[string]string // what its line "ready" says
	startup time.Duration     // from its start to that line
}

// startProcess runs a program with these variables and no others, and returns
// when it has said that it is ready. Its log goes to a file, as that of a service
// does in the end: through a pipe, reading it would cost this program time on
// the cores that it shares with what it measures.
func startProcess(ctx context.Context, name, dir, program string, args, environ []string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has it
	ctx, p.cancel = context.WithCancel(ctx)
	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"HOME=" + dir}, environ...) // none at all would mean this program's
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopTimeout
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		p.cancel()
		return nil, err
	}
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		p.cancel()
		return nil, fmt.Errorf("%s cannot be started: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	if err := p.awaitReady(ctx); err != nil {
		p.stop()
		return nil, err
	}
	p.startup = time.Since(begin)
	return p, nil
}

// awaitReady looks for the line until it is there.
func (p *process) awaitReady(ctx context.Context) error {
	timeout := time.After(startTimeout)
	for {
		text, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(text) {
			var ready map[string]any
			if json.Unmarshal(line, &ready) != nil || ready["msg"] != "ready" {
				continue
			}
			p.ready = make(map[string]string)
			for name, value := range ready {
				p.ready[name], _ = value.(string)
			}
			return nil
		}
		select {
		case <-time.After(readyPause):
		case <-p.done:
			return p.ended()
		case <-timeout:
			return fmt.Errorf("%s is not ready after %v; its log ends:\n%s", p.name, startTimeout, p.lastLog())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ended is an error if the process does not run any more, which none should do
// before it is stopped.
func (p *process) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended: %v; its log ends:\n%s", p.name, p.cmd.ProcessState, p.lastLog())
	default:
		return nil
	}
}

// stop ends the process and waits for that.
func (p *process) stop() {
	_ = p.stdin.Close()
	p.cancel()
	<-p.done
}

// lastLog is as much of the end of the log as one wants to read.
func (p *process) lastLog() string {
	const enough = 2 << 10
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > enough {
		_, _ = f.Seek(-enough, io.SeekEnd)
	}
	text, _ := io.ReadAll(f)
	return string(bytes.TrimSpace(text))
}
