package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		// The program itself, in a process of its own.
		"apixo-relay": func() {
			os.Exit(run(untilSignal(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// The scripts in testdata run the program as a user does.
func TestScripts(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Abs("../../schema")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Values[running{}] = new(*process)
			e.Setenv("RELAY_LISTEN_ADDR", "127.0.0.1:0")
			e.Setenv("RELAY_ADMIN_ADDR", "127.0.0.1:0")
			e.Setenv("RELAY_EMBEDDED_ADDR", "127.0.0.1:0")
			e.Setenv("RELAY_DATA_DIR", filepath.Join(e.WorkDir, "data"))
			e.Setenv("SCHEMA", documents)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"relay-start": startRelay,
			"relay-stop":  stopRelay,
			"exits":       exits,
			"status-api":  statusAPI,
			"consumer":    startConsumer,
			"awaits":      awaits,
			"certificate": makeCertificate,
			"archived":    archived,
		},
		RequireExplicitExec: true,
	})
}

// running is the key of a script's running relay.
type running struct{}

// process is a relay that a test runs.
type process struct {
	cmd    *exec.Cmd
	logged chan struct{} // closed when standard error has ended
	lines  chan map[string]any
}

// startProcess runs the relay and passes on what it logs, a copy of which goes
// to log. Its lines must be read until they end.
func startProcess(program string, environ []string, log io.Writer) (*process, error) {
	p := &process{cmd: exec.Command(program), logged: make(chan struct{}), lines: make(chan map[string]any, 1000)}
	p.cmd.Args[0] = "apixo-relay"
	p.cmd.Env = environ
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.logged)
		defer close(p.lines)
		scanner := bufio.NewScanner(stderr)
		for scanner.Scan() {
			fmt.Fprintln(log, scanner.Text())
			var line map[string]any
			if json.Unmarshal(scanner.Bytes(), &line) == nil {
				select {
				case p.lines <- line:
				default: // nobody waits for a line that late
				}
			}
		}
	}()
	return p, nil
}

// await returns the next line with that message.
func (p *process) await(msg string) (map[string]any, error) {
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return nil, fmt.Errorf("the relay ended before it logged %q: %w", msg, p.wait())
			}
			if line["msg"] == msg {
				return line, nil
			}
		case <-timeout:
			return nil, fmt.Errorf("the relay does not log %q", msg)
		}
	}
}

func (p *process) wait() error {
	<-p.logged
	return p.cmd.Wait()
}

// startRelay is the script command 'relay-start [VARIABLE=VALUE...]': it starts the
// relay, waits until it is ready, and sets WEBHOOKS, ADMIN and NATS_URL to where
// it is, and BROKER to the host and port of its embedded broker. Its log goes to the file relay.log.
func startRelay(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("relay-start cannot be negated")
	}
	environ := []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME")}
	for _, v := range config.Variables() {
		for _, name := range []string{v.Name, v.Name + "_FILE"} {
			// The address of an earlier relay's broker is for the commands.
			if value := ts.Getenv(name); value != "" && name != "NATS_URL" {
				environ = append(environ, name+"="+value)
			}
		}
	}
	log, err := os.OpenFile(ts.MkAbs("relay.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	program, err := lookPath(ts)
	ts.Check(err)
	p, err := startProcess(program, append(environ, args...), log)
	ts.Check(err)
	ts.Defer(func() {
		_ = p.cmd.Process.Kill()
		_ = p.wait()
		log.Close()
	})
	line, err := p.await("ready")
	ts.Check(err)
	*ts.Value(running{}).(**process) = p
	ts.Setenv("WEBHOOKS", line["webhooks"].(string))
	ts.Setenv("ADMIN", line["admin"].(string))
	ts.Setenv("NATS_URL", line["broker"].(string))
	broker, err := url.Parse(line["broker"].(string))
	ts.Check(err)
	ts.Setenv("BROKER", broker.Host)
}

func lookPath(ts *testscript.TestScript) (string, error) {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path := filepath.Join(dir, "apixo-relay"); fileExists(path) {
			return path, nil
		}
	}
	return "", errors.New("apixo-relay is not in the script's PATH")
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// stopRelay is the script command 'relay-stop': SIGTERM, and an orderly end.
func stopRelay(ts *testscript.TestScript, _ bool, _ []string) {
	p := *ts.Value(running{}).(**process)
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
	ts.Check(p.wait())
}

// exits is the script command 'exits CODE PROGRAM [ARG...]': exec that expects
// an exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// freePorts are settings with which a relay is in nobody's way.
var freePorts = []string{"RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0", "RELAY_EMBEDDED_ADDR=127.0.0.1:0"}

// programIn puts the program into a folder, under its name.
func programIn(t *testing.T, folder string) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(folder, "apixo-relay")
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// runRelay runs a relay until the test and those in it end. It returns what it
// logged when it was ready.
func runRelay(t *testing.T, program string, environ []string) (*process, map[string]any) {
	t.Helper()
	p, err := startProcess(program, append(environ[:len(environ):len(environ)], "RELAY_DATA_DIR="+t.TempDir()), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.wait()
	})
	ready, err := p.await("ready")
	if err != nil {
		t.Fatal(err)
	}
	return p, ready
}

// A second signal ends a relay that is still waiting for a webhook in flight.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	p, ready := runRelay(t, programIn(t, t.TempDir()), freePorts)
	webhooks, err := url.Parse(ready["webhooks"].(string))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", webhooks.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The answer to Expect shows that the handler is waiting for the body.
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", webhooks.Path)
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := p.await("shutting down: webhooks in flight are being finished"); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = p.wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("it ended with %v, not by the second signal", err)
	}
}

// Commands listen nowhere: that an address of the relay is open, as in its image, and
// that they are given no token, is no mistake of theirs. It is one of the relay's.
func TestCommandsNeedNoToken(t *testing.T) {
	t.Parallel()
	environ := []string{"RELAY_LISTEN_ADDR=:8720", "RELAY_EMBEDDED_ADDR=127.0.0.1:1", "APIXO_API_KEY=sk-0123456789"}
	for _, line := range []string{"tail", "replay --from-seq 1 --to -", "backfill --model m task_1", "serve"} {
		var said bytes.Buffer
		want := exitFailed // there is no broker
		if line == "serve" {
			want = exitUsage
		}
		if got := run(t.Context(), strings.Fields(line), environ, strings.NewReader(""), io.Discard, &said); got != want {
			t.Errorf("%s: exit code %d, want %d\n%s", line, got, want, &said)
		}
	}
}

// A file that a setting names and that cannot be used is a wrong setting, also where
// only its use shows it.
func TestFilesThatCannotBeUsedAreWrongSettings(t *testing.T) {
	t.Parallel()
	const none, external = "main_test.go", "NATS_URL=nats://127.0.0.1:1"
	for _, test := range []struct {
		line, named string
		environ     []string
	}{
		{"serve", "RELAY_TLS_CERT_FILE", []string{"RELAY_TLS_CERT_FILE=" + none, "RELAY_TLS_KEY_FILE=" + none}},
		{"serve", "RELAY_EMBEDDED_TLS_CERT_FILE", []string{"RELAY_EMBEDDED_TLS_CERT_FILE=" + none, "RELAY_EMBEDDED_TLS_KEY_FILE=" + none}},
		{"serve", "NATS_CERT", []string{external, "NATS_CERT=" + none, "NATS_KEY=" + none}},
		{"serve", "NATS_CA", []string{external, "NATS_CA=" + none}},
		{"serve", "NATS_NKEY", []string{external, "NATS_NKEY=" + none}},
		{"tail", "NATS_CERT", []string{external, "NATS_CERT=" + none, "NATS_KEY=" + none}},
		{"replay --from-seq 1 --to -", "NATS_NKEY", []string{external, "NATS_NKEY=" + none}},
	} {
		t.Run(test.line+" "+test.named, func(t *testing.T) {
			t.Parallel()
			var said bytes.Buffer
			environ := append(append(test.environ, freePorts...), "RELAY_DATA_DIR="+t.TempDir())
			got := run(t.Context(), strings.Fields(test.line), environ, strings.NewReader(""), io.Discard, &said)
			if text := said.String(); got != exitUsage || !strings.Contains(text, test.named) {
				t.Errorf("exit code %d, want %d\n%s", got, exitUsage, text)
			}
		})
	}
}

// What the relay prints can be pasted, wherever 'go run' keeps what it builds.
func TestProgramsOfGoRun(t *testing.T) {
	t.Parallel()
	for executable, want := range map[string]bool{
		"/tmp/go-build123/b001/exe/apixo-relay":                                    true,
		"/home/u/.cache/go-build/3d/" + strings.Repeat("3", 64) + "-d/apixo-relay": true,
		"/cache/3d/" + strings.Repeat("3", 64) + "-d/apixo-relay":                  true,
		"/usr/local/bin/apixo-relay":                                               false,
		"./apixo-relay":                                                            false,
	} {
		if got := isOfGoRun(executable); got != want {
			t.Errorf("%s: %v", executable, got)
		}
	}
}
