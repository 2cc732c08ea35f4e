package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
)

// Mode is what a proxy does with the connections that go through it.
type Mode int

const (
	// Pass hands everything on, and what was held before.
	Pass Mode = iota
	// Hold hands on nothing in either direction, not even that an end has closed
	// the connection: a network that has swallowed everything and said nothing.
	Hold
	// HoldAnswers hands on what clients say, and holds what the server says: it
	// stores, and nobody learns of it.
	HoldAnswers
	// Refuse cuts all connections, with whatever was held, and every new one.
	Refuse
)

// Proxy stands between the relay and a broker.
type Proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu     sync.Mutex
	mode   Mode
	change chan struct{} // closed, and made anew, with every change of mode, and when something is held
	links  map[*link]struct{}
	held   [2]int // connections on which something is held: of what clients say, and of the answers
}

// What a proxy can hold.
const (
	fromClients = iota
	fromServer
)

// link is one connection of a client, and the one to the server that goes with it.
type link struct {
	client, server net.Conn
	cut            chan struct{}
	once           sync.Once
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.cut)
		// Nobody reads these errors: the ends learn what they need from the cut.
		_ = l.client.Close()
		_ = l.server.Close()
	})
}

// NewProxy makes a proxy in front of an address, which need not answer yet.
func (r *Rig) NewProxy(ctx context.Context, target string) (*Proxy, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback(0))
	if err != nil {
		return nil, fmt.Errorf("no address for a proxy: %w", err)
	}
	p := &Proxy{listener: l, target: target, change: make(chan struct{}), links: make(map[*link]struct{})}
	p.running.Go(p.accept)
	r.onClose(p)
	return p, nil
}

// URL is where NATS clients find the proxy.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Set changes the mode, for the connections that there are and for new ones.
func (p *Proxy) Set(m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	p.changed()
	if m == Refuse {
		p.cut()
	}
}

// changed wakes those who wait for a mode, or for something to be held. The lock
// is held.
func (p *Proxy) changed() {
	close(p.change)
	p.change = make(chan struct{})
}

// Close ends all connections and waits until nothing is left of the proxy.
func (p *Proxy) Close() error {
	p.Set(Refuse)
	err := p.listener.Close()
	p.running.Wait()
	return err
}

// cut ends all connections. The lock is held.
func (p *Proxy) cut() {
	for l := range p.links {
		l.close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close() // as if refused
		return
	}
	l := &link{client: client, server: server, cut: make(chan struct{})}
	if !p.add(l) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(l, l.server, l.client, fromClients, Pass, HoldAnswers) })
	both.Go(func() { p.copy(l, l.client, l.server, fromServer, Pass) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// add takes a new connection in, unless they are refused.
func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == Refuse {
		l.close()
		return false
	}
	p.links[l] = struct{}{}
	return true
}

// copy hands on what one end says, in the modes that let it through.
func (p *Proxy) copy(l *link, to io.Writer, from io.Reader, end int, modes ...Mode) {
	defer l.close()
	buf := make([]byte, 32<<10)
	for {
		n, readErr := from.Read(buf)
		if !p.awaitMode(l, end, modes) {
			return
		}
		_, writeErr := to.Write(buf[:n])
		if errors.Join(readErr, writeErr) != nil {
			return
		}
	}
}

// awaitMode waits for one of the modes, and reports false if the connection is
// cut before.
func (p *Proxy) awaitMode(l *link, end int, modes []Mode) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(modes, p.mode) {
		return true
	}
	p.held[end]++
	p.changed()
	defer func() { p.held[end]-- }()
	for !slices.Contains(modes, p.mode) {
		change := p.change
		p.mu.Unlock()
		select {
		case <-change:
		case <-l.cut:
			p.mu.Lock()
			return false
		}
		p.mu.Lock()
	}
	return true
}

// AwaitHeld waits until the proxy holds something that clients have said.
func (p *Proxy) AwaitHeld(ctx context.Context) error { return p.awaitHeld(ctx, fromClients) }

// AwaitHeldAnswers waits until the proxy holds something that the server has said.
func (p *Proxy) AwaitHeldAnswers(ctx context.Context) error { return p.awaitHeld(ctx, fromServer) }

func (p *Proxy) awaitHeld(ctx context.Context, end int) error {
	for {
		p.mu.Lock()
		held, change := p.held[end], p.change
		p.mu.Unlock()
		if held > 0 {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("the proxy has nothing to hold: %w", context.Cause(ctx))
		}
	}
}
