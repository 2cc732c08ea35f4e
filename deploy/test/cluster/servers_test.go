// Package cluster tries the NATS servers of deploy/nats/cluster: the shipped files, in
// which only addresses and folders are the test's, real servers, and all that relay,
// consumer and operator do.
package cluster

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// programs are what a test runs, and the certificates of its servers.
type programs struct {
	relay, server string
	tls           string   // folder of certificates
	hosts         []string // what they are for, each for one server
}

// newPrograms makes certificates for so many servers, by the shipped script.
func newPrograms(t *testing.T, servers int) *programs {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skip("openssl is missing: apt-get install openssl")
	}
	p := &programs{
		relay: build(t, "./cmd/apixo-relay"), server: build(t, "github.com/nats-io/nats-server/v2"), tls: t.TempDir(),
	}
	// Every address of 127.0.0.0/8 is this machine's, so each server has its ports.
	for range servers {
		p.hosts = append(p.hosts, fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)))
	}
	cmd := exec.CommandContext(t.Context(), relaytest.Deploy("nats", "cluster", "certificates.sh"), append([]string{p.tls}, p.hosts...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("certificates.sh: %v\n%s", err, out)
	}
	return p
}

// built are the programs that some test has built, by package, in a folder that TestMain removes:
// to link them takes longer than many a test.
var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

// build builds a program once for all tests.
func build(t *testing.T, pkg string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	path, ok := built.paths[pkg]
	if !ok {
		path = filepath.Join(built.dir, strconv.Itoa(len(built.paths)))
		if err := os.Rename(relaytest.Build(t, pkg), path); err != nil {
			t.Fatal(err)
		}
		built.paths[pkg] = path
	}
	return path
}

func (p *programs) ca() string { return filepath.Join(p.tls, "ca.pem") }

// host takes the next address.
func (p *programs) host() string {
	host := p.hosts[0]
	p.hosts = p.hosts[1:]
	return host
}

func shipped(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(relaytest.Deploy("nats", "cluster", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// replaced replaces what must be there.
func replaced(t *testing.T, text string, oldNew ...string) string {
	t.Helper()
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			t.Fatalf("%q is not in the configuration any more", oldNew[i])
		}
	}
	return strings.NewReplacer(oldNew...).Replace(text)
}

// server is a nats-server in a process of its own, which can be stopped and started.
type server struct {
	name, host, dir string
	program         string
	process         *os.Process
	exited          chan struct{}
	log             *log
	environ         []string // besides the passwords of all users
}

// newServer writes the configuration of a server, which start starts.
func newServer(t *testing.T, p *programs, name, host, config, accounts string) *server {
	t.Helper()
	s := serverAt(t, p, name, host)
	s.write(t, "nats-server.conf", replaced(t, config,
		`"0.0.0.0:4222"`, `"`+host+`:4222"`, `"127.0.0.1:8222"`, `"`+host+`:8222"`,
		`"/data"`, `"`+filepath.Join(s.dir, "data")+`"`, "/etc/nats/tls", p.tls))
	s.write(t, "accounts.conf", accounts)
	return s
}

// serverAt is a server without a configuration.
func serverAt(t *testing.T, p *programs, name, host string) *server {
	t.Helper()
	s := &server{name: name, host: host, dir: t.TempDir(), program: p.server, log: &log{}}
	t.Cleanup(func() {
		s.stop(t)
		if t.Failed() {
			t.Logf("the log of %s:\n%s", name, s.log)
		}
	})
	return s
}

func (s *server) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// password is what a user of the tests has.
func password(user string) string { return "of-" + user }

func (s *server) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(s.program, "-c", filepath.Join(s.dir, "nats-server.conf"))
	cmd.Env = relaytest.Environ("SERVER_NAME="+s.name, "RELAY_PASSWORD="+password("relay"), "CONSUMER_PASSWORD="+password("consumer"),
		"OPERATOR_PASSWORD="+password("operator"), "UI_PASSWORD="+password("ui"), "ARCHIVE_PASSWORD="+password("archive"), "SYS_PASSWORD="+password("sys"))
	cmd.Env = append(cmd.Env, s.environ...)
	cmd.Stderr, cmd.Stdout = s.log, s.log
	from := s.log.len()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	s.process, s.exited = cmd.Process, exited
	go func() {
		defer close(exited)
		_ = cmd.Wait() // stop looks whether it ended when it should
	}()
	s.log.await(t, from, "Server is ready", exited)
}

// stop ends the server in order, if it is running.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if s.process == nil {
		return
	}
	_ = s.process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.process.Kill()
		<-s.exited
		t.Errorf("%s had to be killed", s.name)
	}
	s.process = nil
}

// reload has the server read its configuration again.
func (s *server) reload(t *testing.T) {
	t.Helper()
	from := s.log.len()
	if err := s.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.log.await(t, from, "Reloaded server configuration", s.exited)
}

// denies waits until the server has logged that somebody may not use a subject that begins so.
func (s *server) denies(ctx context.Context, literal string) bool {
	for {
		written := s.log.next()
		if len(of(s.violations(), literal)) > 0 {
			return true
		}
		select {
		case <-written:
		case <-ctx.Done():
			return false
		}
	}
}

// of are the lines of violations that tell of a subject that begins so.
func of(violations []string, literal string) (found []string) {
	for _, line := range violations {
		if strings.Contains(line, literal) {
			found = append(found, line)
		}
	}
	return found
}

// violations are the lines of its log that tell of somebody who did what he may not.
func (s *server) violations() (lines []string) {
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "Violation") {
			lines = append(lines, line)
		}
	}
	return lines
}

// log is written by one goroutine and read by others.
type log struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // closed with the next line, where somebody waits for it
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written != nil {
		close(l.written)
		l.written = nil
	}
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *log) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Len()
}

// next is closed with the next line.
func (l *log) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written == nil {
		l.written = make(chan struct{})
	}
	return l.written
}

// await waits until a text has been written behind a place.
func (l *log) await(t *testing.T, from int, text string, exited <-chan struct{}) {
	t.Helper()
	late := time.After(patience)
	for {
		written := l.next()
		if strings.Contains(l.String()[from:], text) {
			return
		}
		select {
		case <-written:
		case <-exited:
			t.Fatalf("the server ended:\n%s", l)
		case <-late:
			t.Fatalf("the server never says %q:\n%s", text, l)
		}
	}
}
