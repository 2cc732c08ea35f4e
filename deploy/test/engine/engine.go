// Package engine runs programs as a container engine does, for machines that have
// none: in namespaces of their own, from a root file system, with the mounts, the
// user, the capabilities and the environment of an image or of a Compose file. It
// needs root, and Debian's packages iproute2 and util-linux.
//
// It has no control groups and no seccomp, so that limits are not tried with it.
package engine

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limit bounds the end of a container.
const limit = 3 * time.Minute

// Need fails the test where CI has forgotten to install one of the programs or does
// not run as root, and skips it elsewhere.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	lacks := ""
	if os.Geteuid() != 0 {
		lacks = "this needs root"
	}
	for _, program := range append(programs, "ip", "nsenter") {
		if _, err := exec.LookPath(program); err != nil {
			lacks = program + " is missing: apt-get install buildah busybox-static iproute2 openssl prometheus util-linux"
		}
	}
	switch {
	case lacks == "":
	case os.Getenv("CI_TOOLS") != "":
		t.Fatal(lacks)
	default:
		t.Skip(lacks)
	}
}

// Mount is something in a container that is not of its image.
type Mount struct {
	Source   string // a file or folder; empty for an empty folder in memory
	Target   string
	Writable bool
}

// Container is what a container is made from.
type Container struct {
	Name string // other containers of the network find it by this name
	// Root is a root file system that nobody else uses. It is mounted read-only. Only
	// what mounts need is made in it, as engines do.
	Root   string
	Mounts []Mount // in the order in which they are made
	Env    []string
	UID    int
	GID    int
	// Powerless: it has no capabilities and cannot get any, root or not.
	Powerless bool
	Args      []string
	Network   *Network `json:"-"`
}

// Command is the container's process, to be started by the caller: the first one in
// its namespace, so that it sees signals as it does in an engine, and takes all that
// it has started with it.
func (c Container) Command(t testing.TB) *exec.Cmd {
	t.Helper()
	namespace := c.Network.join(t, c.Name)
	c.Mounts = append([]Mount{{Source: c.Network.hosts, Target: "/etc/hosts"}}, c.Mounts...)
	spec, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", namespace, string(spec))
	cmd.Args[0] = inside
	cmd.Env = c.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL, // a test that is killed leaves nothing behind
	}
	return cmd
}

// Output runs a container that ends by itself, and returns what it wrote and its exit code.
func (c Container) Output(t testing.TB) (output string, code int) {
	t.Helper()
	cmd := c.Command(t)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(limit, func() {
		t.Errorf("%s %v had not ended after %v, and was killed", c.Name, c.Args, limit)
		_ = cmd.Process.Kill()
	})
	defer late.Stop()
	_ = cmd.Wait() // the exit code tells
	return text.String(), cmd.ProcessState.ExitCode()
}

// Exec runs a program in a running container, as an engine does for a health check,
// and returns what it wrote and its exit code.
func (c Container) Exec(t testing.TB, running *os.Process, env []string, args ...string) (output string, code int) {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{
		"--target", itoa(running.Pid), "--mount", "--pid", "--net", "--uts", "--root", "--setuid", itoa(c.UID), "--setgid", itoa(c.GID),
	}, args...)...)
	cmd.Env = append(append([]string{}, c.Env...), env...)
	out, err := cmd.CombinedOutput()
	if _, isExit := err.(*exec.ExitError); err != nil && !isExit {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Running is a container that was started.
type Running struct {
	*os.Process
	Exited <-chan struct{} // closed when it has ended
}

// Start starts the container until the test ends, when it must stop at a SIGTERM. What
// it writes is shown if the test fails.
func (c Container) Start(t testing.TB) Running {
	t.Helper()
	cmd := c.Command(t)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // exit codes differ from program to program
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(limit):
			t.Errorf("%s had not stopped %v after SIGTERM, and was killed", c.Name, limit)
			_ = cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("%s:\n%s", c.Name, strings.TrimSpace(output.String()))
		}
	})
	return Running{cmd.Process, exited}
}
