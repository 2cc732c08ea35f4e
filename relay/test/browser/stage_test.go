package browser

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// built is the program, of which there is one for all tests.
func built(t testing.TB) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// relay is a running relay.
type relay struct{ *relaytest.Relay }

// startRelay starts a relay with an embedded broker on free ports.
func startRelay(t testing.TB, settings ...string) relay {
	t.Helper()
	return relay{relaytest.Start(t, built(t), append([]string{"RELAY_EMBEDDED_SYNC=interval", "RELAY_CALLBACK_ATTRIBUTES=model,tenant"}, settings...)...)}
}

// stop ends the relay in order, and waits until it has.
func (r relay) stop(t testing.TB) {
	t.Helper()
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, "the relay does not end", func() bool { return errors.Is(r.Process.Signal(syscall.Signal(0)), os.ErrProcessDone) })
}

// environ is how commands find the relay's broker and its endpoints.
func (r relay) environ() []string {
	return []string{
		"NATS_URL=" + r.Broker, "RELAY_LISTEN_ADDR=" + host(r.Webhooks), "RELAY_ADMIN_ADDR=" + host(r.Admin), "RELAY_CALLBACK_ATTRIBUTES=model,tenant",
	}
}

// host is the host and port of a URL.
func host(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// ui is a running operator's page.
type ui struct {
	// URL has no slash at its end.
	URL     string
	process *os.Process
	log     *natstest.Log
}

// startUI starts the operator's page with arguments and an environment of nothing but the
// settings, and waits until it tells its address. When the test ends it has to stop at a
// SIGTERM, and in order.
func startUI(t testing.TB, settings []string, args ...string) *ui {
	t.Helper()
	p := &ui{log: new(natstest.Log)}
	cmd := exec.Command(built(t), append([]string{"ui"}, args...)...)
	cmd.Env = relaytest.Environ(append([]string{"RELAY_UI_ADDR=127.0.0.1:0", "RELAY_LOG_FORMAT=json"}, settings...)...)
	cmd.Stderr = p.log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.process = cmd.Process
	told, exited := make(chan string, 1), make(chan struct{})
	var ended error
	go func() {
		lines := bufio.NewReader(stdout)
		line, err := lines.ReadString('\n')
		if err == nil {
			told <- line
		}
		rest, _ := io.ReadAll(lines) // which ends with the process
		ended = cmd.Wait()
		if ended == nil && len(rest) > 0 {
			ended = errors.New("more than its address on standard output: " + string(rest))
		}
		close(exited)
	}()
	t.Cleanup(func() {
		_ = p.process.Signal(syscall.SIGTERM) // which has no effect on one that has ended
		select {
		case <-exited:
			if ended != nil {
				t.Errorf("the page did not end in order: %v", ended)
			}
		case <-time.After(patience):
			t.Errorf("the page had not ended %v after SIGTERM, and was killed", patience)
			_ = p.process.Kill() // nobody waits for it any more
		}
		if log := p.log.String(); t.Failed() {
			t.Logf("the log of the page:\n%s", cut(log, 20_000))
		} else if strings.Contains(log, "panic") {
			t.Errorf("the page has a fault of its own:\n%s", log)
		}
	})
	select {
	case line := <-told:
		p.URL = strings.TrimSuffix(strings.TrimSpace(line), "/")
		if !strings.HasPrefix(p.URL, "http") {
			t.Fatalf("the page tells no address, but %q", line)
		}
	case <-exited:
		t.Fatalf("the page ended before it told its address: %v\n%s", ended, p.log)
	case <-time.After(patience):
		t.Fatalf("the page does not tell its address:\n%s", p.log)
	}
	return p
}

// await waits until something outside the browser is so.
func await(t testing.TB, otherwise string, is func() bool) {
	t.Helper()
	for late := time.After(patience); !is(); {
		select {
		case <-late:
			t.Fatal(otherwise)
		case <-time.After(lookAgain):
		}
	}
}

// run runs a command of the program that has to succeed, and returns what it prints.
func run(t testing.TB, settings []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built(t), args...)
	cmd.Env = relaytest.Environ(settings...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("apixo-relay %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// get asks for an address as a program would that is no browser.
func get(t testing.TB, url string, headers ...string) (status int, header http.Header, body string) {
	t.Helper()
	return ask(t, http.MethodGet, url, "", headers...)
}

// post is get with a form.
func post(t testing.TB, url, form string, headers ...string) (status int, header http.Header, body string) {
	t.Helper()
	return ask(t, http.MethodPost, url, form, append([]string{"Content-Type: application/x-www-form-urlencoded"}, headers...)...)
}

func ask(t testing.TB, method, url, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		} else {
			req.Header.Add(name, value)
		}
	}
	client := http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(answer)
}
