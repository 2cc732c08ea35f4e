package broker

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A flood cannot make the embedded broker accept more than a few connections that it
// refuses then.
func TestFewConnectionsWaitToBeAccepted(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, load(t)).embedded.server
	var most uint32
	err := onListener(s.Addr(), func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			most = info.Sacked // of a listening socket, that is how long its queue may be
		}
		return err
	})
	if err != nil || most != queued {
		t.Errorf("%d may wait (%v), want %d", most, err, queued)
	}
}
