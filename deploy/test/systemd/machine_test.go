package systemd

import (
	"bytes"
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limit bounds everything that is waited for.
const limit = 3 * time.Minute

// need fails the test where CI has forgotten to install something, and skips it elsewhere.
func need(t *testing.T, more ...string) {
	t.Helper()
	lacks := ""
	for _, program := range append(more, "/lib/systemd/systemd", "systemd-analyze", "nsenter", "unshare", "openssl", "ss") {
		if _, err := exec.LookPath(program); err != nil {
			lacks = program + " is missing: apt-get install systemd iproute2 openssl rpm util-linux"
		}
	}
	if os.Geteuid() != 0 {
		lacks = "this needs root"
	}
	if lacks != "" {
		without(t, lacks)
	}
}

func without(t *testing.T, lacks string) {
	t.Helper()
	if os.Getenv("CI_TOOLS") != "" {
		t.Fatal(lacks)
	}
	t.Skip(lacks)
}

//go:embed boot.sh
var bootScript string

// machine is a systemd that runs in namespaces of its own.
type machine struct {
	pid string
	// files is the folder that the machine has at /srv.
	files string
}

// boot starts a machine, which ends with the test.
func boot(t *testing.T) machine {
	t.Helper()
	m := machine{files: t.TempDir()}
	group := controlGroup(t)
	fd, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	// A namespace of control groups begins at the group of who makes it, and so only
	// after this process is in its own.
	cmd := exec.Command("unshare", "--cgroup", "bash", "-c", bootScript, "boot", t.TempDir(), m.files)
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		UseCgroupFD: true, CgroupFD: int(fd.Fd()),
		Pdeathsig: syscall.SIGKILL, // when a test is killed, its machine is not to stay
	}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // whose end would be the parent's
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed, as machines are switched off
		}
	}()
	if err := <-started; err != nil {
		without(t, err.Error())
	}
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := m.run("journalctl --no-pager -n 200 | grep -v '\"msg\":\"webhook\"'")
			t.Logf("the machine's console and journal:\n%s\n%s", console.String(), journal)
		}
		_ = cmd.Process.Kill() // and all that runs in the machine with it
		<-ended
		removeGroups(t, group)
	})
	m.pid = strconv.Itoa(cmd.Process.Pid)
	until(t, "the machine runs", func() bool {
		select {
		case <-ended:
			t.Fatal("the machine has ended")
		default:
		}
		// Degraded is what it can be where this machine lacks something for it.
		state, _ := m.run("systemctl is-system-running --wait")
		return state == "running" || state == "degraded"
	})
	return m
}

// controlGroup makes an empty control group, which systemd wants for itself.
func controlGroup(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			dir, err := os.MkdirTemp(f[1], "apixo-relay-test-")
			if err != nil {
				without(t, err.Error())
			}
			return dir
		}
	}
	without(t, "this machine has no control groups of version 2")
	return ""
}

// removeGroups removes a control group with those in it, from the inside out.
func removeGroups(t *testing.T, group string) {
	var all []string
	err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, dir := range slices.Backward(all) {
		until(t, "the control group is empty", func() bool { return !errors.Is(syscall.Rmdir(dir), syscall.EBUSY) })
	}
}

// run runs a script in the machine, in /srv, and returns what it prints.
func (m machine) run(script string) (string, error) {
	cmd := exec.Command("nsenter", "--target", m.pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--wd",
		"timeout", strconv.Itoa(int(limit.Seconds())), "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-euo", "pipefail", "-c", "cd /srv\n"+script)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// sh is run for a script that has to succeed.
func (m machine) sh(t *testing.T, script string) string {
	t.Helper()
	out, err := m.run(script)
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return out
}

// service is a property of the relay's service.
func (m machine) service(t *testing.T, property string) string {
	t.Helper()
	return m.sh(t, "systemctl show --value --property "+property+" apixo-relay")
}

// until waits for something that nobody announces.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v it was still not so that %s", limit, what)
		}
	}
}
