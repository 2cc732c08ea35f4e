package engine

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Network joins containers, and nothing else: each has an address of its own and all
// its ports, and no way out. The names of all are in each one's /etc/hosts.
type Network struct {
	t      testing.TB
	bridge string // the namespace of the bridge, from which Dial dials
	hosts  string
	known  map[string]member
}

type member struct{ address, namespace string }

// NewNetwork makes a network that is gone when the test has ended, or its process.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	n := &Network{t: t, known: make(map[string]member), hosts: filepath.Join(t.TempDir(), "hosts")}
	if err := os.WriteFile(n.hosts, []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n.bridge, _ = namespace(t)
	n.in(n.bridge, "link", "set", "lo", "up")
	n.in(n.bridge, "link", "add", "br0", "type", "bridge")
	n.in(n.bridge, "address", "add", "10.88.0.1/24", "dev", "br0")
	n.in(n.bridge, "link", "set", "br0", "up")
	return n
}

// namespace makes a network namespace, which a process keeps that waits for the end of
// this one.
func namespace(t testing.TB) (path string, pid int) {
	t.Helper()
	keeper := exec.Command("cat")
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := keeper.StdinPipe()
	if err == nil {
		err = keeper.Start()
	}
	if err != nil {
		t.Fatalf("no network namespace: %v", err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = keeper.Wait()
	})
	return fmt.Sprintf("/proc/%d/ns/net", keeper.Process.Pid), keeper.Process.Pid
}

func itoa(n int) string { return strconv.Itoa(n) }

// in runs ip in a namespace.
func (n *Network) in(namespace string, args ...string) {
	n.t.Helper()
	if out, err := exec.Command("nsenter", append([]string{"--net=" + namespace, "ip"}, args...)...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

// join gives a container a namespace with an address, the same as before if it has
// been there already.
func (n *Network) join(t testing.TB, name string) (path string) {
	t.Helper()
	if m, ok := n.known[name]; ok {
		return m.namespace
	}
	number := len(n.known) + 2
	port, address := fmt.Sprintf("port%d", number), fmt.Sprintf("10.88.0.%d", number)
	path, pid := namespace(n.t)
	n.in(n.bridge, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", itoa(pid))
	n.in(n.bridge, "link", "set", port, "master", "br0", "up")
	n.in(path, "address", "add", address+"/24", "dev", "eth0")
	n.in(path, "link", "set", "lo", "up")
	n.in(path, "link", "set", "eth0", "up")
	hosts, err := os.OpenFile(n.hosts, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintln(hosts, address, name)
		err2 := hosts.Close()
		if err == nil {
			err = err2
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	n.known[name] = member{address, path}
	return path
}

// Join makes names known before their containers are there, as those of a Compose file are.
func (n *Network) Join(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		n.join(t, name)
	}
}

// Dial connects to a container's port from where its engine is; a host name is a container's.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if m, ok := n.known[host]; ok {
		address = net.JoinHostPort(m.address, port)
	}
	return dialFrom(ctx, n.bridge, network, address)
}

// DialInside connects as a program in that container does.
func (n *Network) DialInside(ctx context.Context, name, network, address string) (net.Conn, error) {
	return dialFrom(ctx, n.known[name].namespace, network, address)
}

// dialFrom dials in a namespace: a socket stays in the one in which it was made.
func dialFrom(ctx context.Context, namespace, network, address string) (net.Conn, error) {
	there, err := os.Open(namespace)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		here, err := os.Open("/proc/thread-self/ns/net")
		if err == nil {
			defer here.Close()
			err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
		}
		var conn net.Conn
		if err == nil {
			// No address has a name here, and only one address is tried, so that this
			// goroutine makes the socket.
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			if unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread() // or else the thread ends with the goroutine
			}
		}
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}
