package rig

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Flooder is a kind of connection that is of no use to anybody.
type Flooder struct {
	// Name says what it does.
	Name string
	// Text is what it sends, and then nothing more.
	Text string
	// Secure: it does so after a TLS handshake, with these protocols.
	Secure    bool
	Protocols []string
}

// Flood are connections that are made again at once whenever they are closed.
type Flood struct {
	stop     context.CancelFunc
	flooding sync.WaitGroup
	made     []atomic.Int64 // of each kind
	begun    atomic.Int64
}

// floodPause is after a connection that could not be made.
const floodPause = 10 * time.Millisecond

// StartFlood floods an address with so many connections, of all kinds by turns, until
// [Flood.Stop] or the end of ctx.
func StartFlood(ctx context.Context, addr string, connections int, kinds []Flooder) *Flood {
	ctx, cancel := context.WithCancel(ctx)
	f := &Flood{stop: cancel, made: make([]atomic.Int64, len(kinds))}
	sessions := tls.NewLRUClientSessionCache(0) // a handshake should cost this machine as little as it can
	for i := range connections {
		k := i % len(kinds)
		f.flooding.Go(func() {
			for ctx.Err() == nil {
				if !f.connect(ctx, addr, kinds[k], sessions) {
					select {
					case <-time.After(floodPause):
					case <-ctx.Done():
					}
					continue
				}
				f.made[k].Add(1)
			}
		})
	}
	return f
}

// connect makes one connection, and returns when it has ended. It reports whether
// there was one.
func (f *Flood) connect(ctx context.Context, addr string, k Flooder, sessions tls.ClientSessionCache) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetLinger(0) // or its port would wait to be forgotten
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	f.begun.Add(1)
	if k.Secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: k.Protocols, ServerName: "flood", ClientSessionCache: sessions, CurvePreferences: []tls.CurveID{tls.X25519}})
	}
	// An error is the end of the connection, which is what comes at last in any case.
	if _, err := io.WriteString(conn, k.Text); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
	return true
}

// Begun is how many connections have been made so far, those in the kernel's queue and
// those that have ended among them. It only grows: how many are open at once depends on
// how fast the other side closes them.
func (f *Flood) Begun() int { return int(f.begun.Load()) }

// Stop ends all of them, and returns how many have been made of each kind.
func (f *Flood) Stop() []int {
	f.stop()
	f.flooding.Wait()
	made := make([]int, len(f.made))
	for i := range f.made {
		made[i] = int(f.made[i].Load())
	}
	return made
}
