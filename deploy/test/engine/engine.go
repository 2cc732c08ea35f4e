// Package engine runs programs as a container engine does, for machines that have
// none: in namespaces of their own, from a root file system, with the mounts, the
// user and the environment of an image or of a Compose file. It needs root, and
// Debian's packages iproute2 and util-linux.
//
// It does not isolate as an engine does: there are no control groups, no seccomp and
// no capabilities to drop, so that limits are not tried with it.
package engine

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limit bounds the end of a container.
const limit = 40 * time.Second

// Need fails the test where CI has forgotten to install one of the programs or does
// not run as root, and skips it elsewhere.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	lacks := ""
	if os.Geteuid() != 0 {
		lacks = "this needs root"
	}
	for _, program := range append(programs, "ip", "nsenter", "mount", "chroot") {
		if _, err := exec.LookPath(program); err != nil {
			lacks = program + " is missing: apt-get install buildah busybox-static iproute2 openssl prometheus"
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
	Root    string
	Mounts  []Mount
	Env     []string
	User    string // uid:gid
	Args    []string
	Network *Network
}

// script mounts what the container needs and becomes its program. Its arguments are
// the root file system, the host's name, the user, the number of mounts, for each of
// them source, target and options, and the program with its arguments.
const script = `set -e
root=$1 name=$2 user=$3 mounts=$4; shift 4
hostname "$name"
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$mounts" -gt 0 ]; do
  if [ -n "$1" ]; then
    mount --bind "$1" "$root$2"
    mount -o "remount,bind,$3" "$root$2"
  else
    mount -t tmpfs -o mode=1777 tmpfs "$root$2"
  fi
  mounts=$((mounts - 1)); shift 3
done
mount -o remount,bind,ro "$root"
cd "$root"
exec chroot --userspec="$user" --groups= . "$@"`

// Command is the container's process, to be started by the caller: the first one in
// its namespace, so that it sees signals as it does in an engine, and takes all that
// it has started with it.
func (c Container) Command(t testing.TB) *exec.Cmd {
	t.Helper()
	mounts := append([]Mount{{Source: c.Network.hosts, Target: "/etc/hosts"}}, c.Mounts...)
	for _, dir := range []string{"proc", "dev", "etc"} {
		if err := os.MkdirAll(filepath.Join(c.Root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--net=" + c.Network.join(t, c.Name), "sh", "-c", script, "sh", c.Root, c.Name, c.User, itoa(len(mounts))}
	for _, m := range mounts {
		makeTarget(t, m.Source, filepath.Join(c.Root, m.Target))
		options := "ro"
		if m.Writable {
			options = "rw"
		}
		args = append(args, m.Source, m.Target, options)
	}
	cmd := exec.Command("nsenter", append(args, c.Args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/"}, c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	return cmd
}

// makeTarget makes the file or folder on which something is mounted.
func makeTarget(t testing.TB, source, target string) {
	t.Helper()
	isFile := false
	if source != "" {
		info, err := os.Stat(source)
		if err != nil {
			t.Fatal(err)
		}
		isFile = !info.IsDir()
	}
	dir := target
	if isFile {
		dir = filepath.Dir(target)
	}
	err := os.MkdirAll(dir, 0o755)
	if _, missing := os.Stat(target); err == nil && isFile && missing != nil {
		err = os.WriteFile(target, nil, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Exec runs a program in a running container, as an engine does for a health check,
// and returns what it wrote and its exit code.
func (c Container) Exec(t testing.TB, running *os.Process, env []string, args ...string) (output string, code int) {
	t.Helper()
	uid, gid, _ := strings.Cut(c.User, ":")
	cmd := exec.Command("nsenter", append([]string{"--target", itoa(running.Pid), "--mount", "--pid", "--net", "--uts", "--root", "--setuid", uid, "--setgid", gid}, args...)...)
	cmd.Env = append(append([]string{}, c.Env...), env...)
	out, err := cmd.CombinedOutput()
	if _, isExit := err.(*exec.ExitError); err != nil && !isExit {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Start starts the container until the test ends, when it must stop at a SIGTERM. It
// returns the process. What it writes is shown if the test fails.
func (c Container) Start(t testing.TB) *os.Process {
	t.Helper()
	cmd := c.Command(t)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(limit, func() {
			t.Errorf("%s had not stopped %v after SIGTERM, and was killed", c.Name, limit)
			_ = cmd.Process.Kill()
		})
		_ = cmd.Wait() // exit codes differ from program to program
		late.Stop()
		if t.Failed() {
			t.Logf("%s:\n%s", c.Name, output.String())
		}
	})
	return cmd.Process
}
