package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside is the name by which a test's program knows that it is to become a container.
const inside = "engine-inside"

// init makes the program that imports this package become a container's, if it was
// started for that: only a process in its own namespaces can arrange them.
func init() {
	if os.Args[0] != inside {
		return
	}
	runtime.LockOSThread() // what follows is about a thread, which then becomes the program
	var c Container
	err := json.Unmarshal([]byte(os.Args[2]), &c)
	if err == nil {
		err = c.become(os.Args[1])
	}
	fmt.Fprintf(os.Stderr, "engine: %s does not start: %v\n", c.Name, err)
	os.Exit(125) // as docker does
}

// become arranges the namespaces, and ends only if that fails.
func (c *Container) become(network string) error {
	there, err := os.Open(network)
	if err != nil {
		return err
	}
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	there.Close()
	if err := unix.Sethostname([]byte(c.Name)); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := bind(c.Root, c.Root, false); err != nil {
		return err
	}
	if err := c.mountAll(); err != nil {
		return err
	}
	if err := unix.Mount("", c.Root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	if err := unix.Chroot(c.Root); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if c.Powerless {
		if err := powerless(); err != nil {
			return err
		}
	}
	for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(c.GID), syscall.Setuid(c.UID)} {
		if err != nil {
			return err
		}
	}
	program, err := lookPath(c.Args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(program, c.Args, os.Environ())
}

func (c *Container) mountAll() error {
	for _, dir := range []string{"proc", "dev"} {
		if err := os.MkdirAll(filepath.Join(c.Root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", filepath.Join(c.Root, "proc"), "proc", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("/dev", filepath.Join(c.Root, "dev"), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	for _, m := range c.Mounts {
		target := filepath.Join(c.Root, m.Target)
		err := makeTarget(m.Source, target)
		switch {
		case err != nil:
		case m.Source == "":
			err = unix.Mount("tmpfs", target, "tmpfs", 0, "mode=1777")
		default:
			err = bind(m.Source, target, !m.Writable)
		}
		if err != nil {
			return fmt.Errorf("mount %q at %s: %w", m.Source, m.Target, err)
		}
	}
	return nil
}

func bind(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil || !readOnly {
		return err
	}
	return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}

// makeTarget makes the file or folder on which something is mounted, where it can be.
func makeTarget(source, target string) error {
	if source != "" {
		info, err := os.Stat(source)
		if err != nil {
			return err
		}
		if _, missing := os.Stat(target); !info.IsDir() && missing != nil {
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			return os.WriteFile(target, nil, 0o644)
		} else if missing == nil {
			return nil
		}
	}
	return os.MkdirAll(target, 0o755)
}

// powerless takes away the capabilities that a program would get, even root's.
func powerless() error {
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		// From what the next program may have. This one keeps what it has until then.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && err != unix.EINVAL {
			return err
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// lookPath finds a program in the container.
func lookPath(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if path := filepath.Join(dir, name); unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s in it", name)
}
