//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds what has to come.
const patience = 2 * time.Minute

// ended waits for the end of a process, and returns how it ended.
func ended(t *testing.T, cmd *exec.Cmd) syscall.WaitStatus {
	t.Helper()
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func sendSignal(t *testing.T, cmd *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatalf("%v: %v", s, err)
	}
}

// heedHangup lets SIGHUP have its effect on the processes to come, also where it is
// ignored here: nohup would be inherited.
func heedHangup() {
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
}

// Where there is no terminal, SIGHUP has files read again. Signals that supervisors and
// log rotators send else end nothing.
func TestHangupReadsFilesAgain(t *testing.T) {
	t.Parallel()
	heedHangup()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte(strings.Repeat("t", 16)), 0o600); err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		"RELAY_WEBHOOK_TOKENS_FILE=" + tokens: "reading tokens and certificates again, as far as they are in files",
		"RELAY_LOG_LEVEL=info":                "there is nothing to read again: no RELAY_WEBHOOK_TOKENS_FILE, no RELAY_TLS_CERT_FILE and no RELAY_EMBEDDED_TLS_CERT_FILE is set",
	} {
		p, _ := runRelay(t, programIn(t, t.TempDir()), append([]string{setting}, freePorts...))
		for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGHUP} {
			sendSignal(t, p.cmd, s)
		}
		if _, err := p.await(want); err != nil {
			t.Error(err)
		}
		sendSignal(t, p.cmd, syscall.SIGTERM)
		if err := p.wait(); err != nil {
			t.Error(err)
		}
	}
}

// What nohup starts goes on when its terminal is closed.
func TestIgnoredHangupStaysIgnored(t *testing.T) {
	t.Parallel()
	shell := filepath.Join(t.TempDir(), "nohup")
	script := "#!/bin/sh\ntrap '' HUP\nexec " + programIn(t, t.TempDir()) + "\n"
	if err := os.WriteFile(shell, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	p, _ := runRelay(t, shell, freePorts)
	sendSignal(t, p.cmd, syscall.SIGHUP)
	sendSignal(t, p.cmd, syscall.SIGTERM)
	for line := range p.lines {
		if msg, _ := line["msg"].(string); strings.Contains(msg, "again") {
			t.Errorf("SIGHUP did something: %s", msg)
		}
	}
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

// Other commands end in order.
func TestHangupEndsCommands(t *testing.T) {
	t.Parallel()
	heedHangup()
	program := programIn(t, t.TempDir())
	_, ready := runRelay(t, program, freePorts)
	cmd := exec.Command(program, "tail")
	cmd.Args[0] = "apixo-relay"
	cmd.Env = []string{"NATS_URL=" + ready["broker"].(string)}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stderr.Read(make([]byte, 1)); err != nil { // it says what it follows
		t.Fatal(err)
	}
	sendSignal(t, cmd, syscall.SIGHUP)
	if status := ended(t, cmd); !status.Exited() || status.ExitStatus() != exitDone {
		t.Errorf("it ended with %v", status)
	}
}

// A wrong setting is exit code 2, whoever reads what is said of it: supervisors tell it
// from a crash by that.
func TestExitCodeWithoutAReader(t *testing.T) {
	t.Parallel()
	program := programIn(t, t.TempDir())
	for name, prepare := range map[string]func(reader, writer *os.File){
		"gone":    func(reader, _ *os.File) { reader.Close() },
		"stalled": func(_, writer *os.File) { fill(t, writer) },
	} {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		prepare(reader, writer)
		cmd := exec.Command(program)
		cmd.Args[0] = "apixo-relay"
		cmd.Env, cmd.Stderr = []string{"RELAY_MAX_IN_FLIGHT=0"}, writer
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if status := ended(t, cmd); !status.Exited() || status.ExitStatus() != exitUsage {
			t.Errorf("%s: it ended with %v (signal %v)", name, status, status.Signal())
		}
		writer.Close()
		reader.Close()
	}
}

// fill writes to a pipe until it takes no more.
func fill(t *testing.T, writer *os.File) {
	t.Helper()
	if err := writer.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := writer.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	for {
		if _, err := writer.Write(make([]byte, 1)); err != nil {
			break
		}
	}
}

// Commands that print end as others do when nobody reads on, as in 'tail | head'.
func TestBrokenPipeEndsCommands(t *testing.T) {
	t.Parallel()
	program := programIn(t, t.TempDir())
	for _, args := range [][]string{{"schema"}, {"serve", "-h"}} {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		reader.Close()
		cmd := exec.Command(program, args...)
		cmd.Args[0] = "apixo-relay"
		cmd.Stdout = writer
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if status := ended(t, cmd); status.Signal() != syscall.SIGPIPE {
			t.Errorf("%q ended with %v", args, status)
		}
		writer.Close()
	}
}
