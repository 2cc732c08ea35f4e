package broker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// ownConnections is how many this process has to its own server. They take none of
	// the descriptors, but the server counts them as well.
	ownConnections = 1
	// stalePing is after which time the server asks a client that says nothing whether it
	// is there, and stalePings how many questions it may owe an answer to. Clients of NATS
	// answer by themselves; whatever else has connected loses its place after the third.
	// The server's own values are 2 minutes and 2.
	stalePing  = 15 * time.Second
	stalePings = 2
	// mute is how long a client may say nothing at all while others are refused for want
	// of places. Where a password is asked for, the server gives it no longer anyway.
	mute = 2 * time.Second
	// queued is how many connections may wait to be accepted. The server accepts all that
	// wait before it refuses the first, each with a descriptor; the kernel's own bound is
	// 4,096, more than many a process may have.
	queued = 32
	// clientLimitTick is between two looks for those that are mute, after somebody was refused.
	clientLimitTick = time.Second
)

// clientLimit is the way into an embedded server that takes so many clients and no more. The
// server refuses those that come when it is full, without regard to who they are, and
// so its own process too.
type clientLimit struct {
	server     *server.Server
	maxClients int
}

// admitTries is how often a way in is looked for, each time with twice as much room:
// others come in as well.
const admitTries = 8

// InProcessConn implements nats.InProcessConnProvider. For this process the clients
// that have been idle for the longest make way.
func (d clientLimit) InProcessConn() (net.Conn, error) {
	var refused error
	for try := range admitTries {
		d.evict(1 << try)
		conn, err := d.server.InProcessConn()
		if err != nil {
			return nil, err
		}
		greeting, err := d.admit(conn)
		if err == nil {
			return &prefixedConn{conn, io.MultiReader(strings.NewReader(greeting), conn)}, nil
		}
		_ = conn.Close() // it is of no use
		if refused = err; errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return nil, fmt.Errorf("the embedded broker does not let the relay in: %w", refused)
}

// admit returns once the server has taken a connection, with what it has said until
// then. It greets each before it decides about that, and of those that it takes it
// waits for a word.
func (d clientLimit) admit(conn net.Conn) (greeting string, err error) {
	deadline := time.Now().Add(connectTimeout)
	_ = conn.SetReadDeadline(deadline)                     // fails if it is closed, as reading does then
	greeting, err = bufio.NewReader(conn).ReadString('\n') // a pipe gives no more than was written at once
	if err != nil {
		return "", fmt.Errorf("no greeting: %w", err)
	}
	var info struct {
		ID uint64 `json:"client_id"`
	}
	_, text, _ := strings.Cut(greeting, " ")
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		return "", fmt.Errorf("it greets with %.100q: %w", greeting, err)
	}
	for said := make([]byte, 256); d.server.GetClient(info.ID) == nil; {
		_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, err := conn.Read(said)
		switch {
		case n > 0:
			return "", fmt.Errorf("it says %q", said[:n])
		case !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(deadline):
			return "", err
		}
	}
	return greeting, conn.SetReadDeadline(time.Time{})
}

// prefixedConn is a connection of which something has been read.
type prefixedConn struct {
	net.Conn
	from io.Reader
}

// Read implements [net.Conn].
func (b *prefixedConn) Read(p []byte) (int, error) { return b.from.Read(p) }

// evict ends clients until there is room for so many more. A server without a limit
// always has it.
func (d clientLimit) evict(n int) {
	if d.maxClients == 0 || d.server.NumClients()+n <= d.maxClients {
		return
	}
	for i, c := range d.others() {
		if i == n {
			return
		}
		_ = d.server.DisconnectClientByID(c.Cid) // it may have gone by itself
	}
}

// others are the clients outside this process, the longest idle first.
func (d clientLimit) others() (found []*server.ConnInfo) {
	all, err := d.server.Connz(&server.ConnzOptions{Sort: server.ByIdle, Limit: d.maxClients})
	if err != nil {
		return nil // there is no such option
	}
	for _, c := range all.Conns {
		if c.Port != 0 {
			found = append(found, c)
		}
	}
	return found
}

// watch ends those that have never said anything once others are refused, until ctx ends.
func (d clientLimit) watch(ctx context.Context, refused <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-refused:
		}
		// Those that came just now may be found in a while.
		for range mute/clientLimitTick + 1 {
			if d.server.NumClients() < d.maxClients {
				break
			}
			d.sweep(time.Now())
			select {
			case <-ctx.Done():
				return
			case <-time.After(clientLimitTick):
			}
		}
	}
}

// sweep ends those that have not said anything for too long.
func (d clientLimit) sweep(now time.Time) {
	for _, c := range d.others() {
		if said := c.Lang != "" || c.InMsgs > 0 || c.NumSubs > 0; !said && now.Sub(c.Start) >= mute {
			_ = d.server.DisconnectClientByID(c.Cid) // it may have gone by itself
		}
	}
}
