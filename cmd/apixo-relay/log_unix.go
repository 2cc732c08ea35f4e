//go:build unix

package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// openLog starts the writer of the log. To standard error it writes through a
// descriptor of its own: Go's runtime, which tells of a crash on descriptor 2 before it
// ends the process, would wait for a stalled reader for ever, and so has /dev/null there
// meanwhile.
func openLog(stderr io.Writer, format telemetry.Format) *telemetry.AsyncWriter {
	if stderr != os.Stderr {
		return telemetry.NewAsyncWriter(stderr, format)
	}
	fd, err := unix.FcntlInt(uintptr(unix.Stderr), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil { // no descriptor is left
		return telemetry.NewAsyncWriter(stderr, format)
	}
	out := telemetry.NewAsyncWriter(os.NewFile(uintptr(fd), "/dev/stderr"), format)
	out.OnStall(func(stalled bool) {
		if !stalled {
			_ = unix.Dup2(fd, unix.Stderr) // which cannot fail
			return
		}
		if null, err := unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			_ = unix.Dup2(null, unix.Stderr)
			_ = unix.Close(null)
		}
	})
	return out
}
