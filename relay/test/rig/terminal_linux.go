package rig

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openTerminal opens a pseudo-terminal: the end that a terminal emulator has, and the
// device that programs have.
func openTerminal() (emulator, device *os.File, err error) {
	emulator, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("there is no pseudo-terminal: %w", err)
	}
	fd := int(emulator.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		device, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		emulator.Close()
		return nil, nil, fmt.Errorf("the pseudo-terminal cannot be used: %w", err)
	}
	return emulator, device, nil
}

// onTerminal makes a process the first one of a session on the terminal that its
// standard input is.
func onTerminal(attr *syscall.SysProcAttr) { attr.Setsid, attr.Setctty, attr.Ctty = true, true, 0 }
