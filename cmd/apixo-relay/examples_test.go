package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
)

// documented are the commands that are this program's own.
func documented() (commands []*cobra.Command) {
	root := rootCommand(cliEnv{stdout: io.Discard, stderr: io.Discard})
	for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
		if c.Name() != "help" && c.Name() != "completion" {
			commands = append(commands, c)
		}
	}
	return commands
}

// Every help text has what somebody looks for in it.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, c := range documented() {
		help := c.Short + "\n" + c.Long + "\n" + c.UsageString()
		if strings.Contains(c.Short, "\n") || len(c.Short) > 80 || c.Short == "" {
			t.Errorf("%s: the purpose is not one line: %q", c.Name(), c.Short)
		}
		if n := len(examples(c)); n < 3 {
			t.Errorf("%s: %d examples, three are wanted", c.Name(), n)
		}
		for _, part := range []string{"Usage:", "Examples:", "Exit codes:"} {
			if !strings.Contains(help, part) && !(c.Parent() == nil && part == "Exit codes:") {
				t.Errorf("%s: there is no %q in its help", c.Name(), part)
			}
		}
		for line := range strings.Lines(help) {
			if len([]rune(line)) > 132 {
				t.Errorf("%s: a line of %d characters in its help: %s", c.Name(), len(line), line)
			}
		}
	}
}

// examples are the commands in a command's examples, without the comments.
func examples(c *cobra.Command) (lines []string) {
	for line := range strings.Lines(c.Example) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// endless are the beginnings of examples that go on until somebody ends them.
var endless = []string{"apixo-relay tail", "apixo-relay serve", "apixo-relay replay --follow", "apixo-relay ui", "apixo-relay archive"}

// Each example in a help text works when it is pasted beside a running relay. Only
// the default addresses in it are replaced: they may be taken here.
func TestHelpExamplesWorkAsPasted(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	program := programIn(t, bin)
	environ := append([]string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, freePorts...)
	_, ready := runRelay(t, program, environ)
	host := func(name string) string {
		_, rest, _ := strings.Cut(ready[name].(string), "://")
		host, _, _ := strings.Cut(rest, "/")
		return host
	}
	api := httptest.NewServer(fakeapi.New("key-of-the-examples"))
	t.Cleanup(api.Close)
	beside := append(environ,
		"RELAY_LISTEN_ADDR="+host("webhooks"), "RELAY_ADMIN_ADDR="+host("admin"), "RELAY_EMBEDDED_ADDR="+host("broker"), "RELAY_UI_ADDR=127.0.0.1:0",
		"APIXO_API_KEY=key-of-the-examples", "APIXO_BASE_URL="+api.URL)
	addresses := strings.NewReplacer("127.0.0.1:8720", host("webhooks"), "127.0.0.1:8721", host("admin"), "127.0.0.1:4222", host("broker"), "0.0.0.0:8722", "127.0.0.1:0", "--open ", "",
		"/var/lib/apixo-archive", t.TempDir(), "s3://results/apixo", "file://"+t.TempDir())
	// What would archive the samples has a relay without any: their addresses lead nowhere.
	_, empty := runRelay(t, program, environ)
	_, emptyBroker, _ := strings.Cut(empty["broker"].(string), "://")
	// Something to look at, for commands that look.
	for _, line := range []string{"apixo-relay send --count 3", "apixo-relay send failed", "echo '{' | apixo-relay send --file - || true", "apixo-relay expect --model nano-banana task_1"} {
		paste(t, line, line, append(beside, "RELAY_DATA_DIR="+t.TempDir()))
	}
	if err := archiveTasks(t.Context(), ready["broker"].(string), "nats:FILES", "task_abc123xyz", "task_12345678"); err != nil {
		t.Fatal(err)
	}
	for _, c := range documented() {
		for _, line := range examples(c) {
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				environ := beside
				if c.Parent() == nil || c.Name() == "serve" {
					environ = append(environ[:len(environ):len(environ)], freePorts...)
				}
				if c.Name() == "archive" {
					environ = append(environ[:len(environ):len(environ)], "RELAY_EMBEDDED_ADDR="+emptyBroker)
				}
				paste(t, line, addresses.Replace(line), append(environ[:len(environ):len(environ)], "RELAY_DATA_DIR="+t.TempDir()))
			})
		}
	}
}

// paste runs a line in a shell, as somebody at a prompt would. One that does not
// end by itself is interrupted once it has said something.
func paste(t *testing.T, example, line string, environ []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	isEndless := example == "apixo-relay"
	for _, beginning := range endless {
		isEndless = isEndless || strings.Contains(example, beginning)
	}
	isEndless = isEndless && !strings.Contains(example, "--until-now")
	if isEndless {
		line = strings.Replace(line, "apixo-relay", "exec apixo-relay", 1) // so that it gets the signal
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Env, cmd.Dir = environ, t.TempDir()
	said := &firstWords{said: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if isEndless {
		select {
		case <-said.said:
		case <-ctx.Done():
		}
		_ = cmd.Process.Signal(syscall.SIGINT)
	}
	if err := cmd.Wait(); err != nil || ctx.Err() != nil {
		t.Errorf("%s\n%v\n%s", line, errors.Join(err, ctx.Err()), said.text.Bytes())
	}
}

// firstWords keeps what a program says, and tells when it has begun to.
type firstWords struct {
	text bytes.Buffer
	said chan struct{}
}

// Write implements io.Writer. One goroutine copies both outputs of a command.
func (w *firstWords) Write(p []byte) (int, error) {
	if w.text.Len() == 0 {
		close(w.said)
	}
	return w.text.Write(p)
}
