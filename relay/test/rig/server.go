package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// JetStream is configuration text that switches JetStream on, with the store
// in the server's folder.
const JetStream = "jetstream { store_dir: DIR }\n"

// Server is a NATS server that can be started, killed and started again, with
// the same address and the same store.
type Server struct {
	*Process // of the last start; nil before the first

	// Environ are variables that it is started with, besides those of this process.
	Environ []string

	rig       *Rig
	name, url string
	file      string // its configuration
	fixed     string // what of its configuration never changes
	dir       string
}

// NewServer makes a server with an address and a folder of its own, which
// [Server.Start] starts. Its configuration is text in NATS's format, in which
// DIR stands for that folder; for instance [JetStream].
func (r *Rig) NewServer(config string) (*Server, error) {
	s, err := r.newServer("nats")
	if err != nil {
		return nil, err
	}
	return s, s.write(config)
}

func (r *Rig) newServer(name string) (*Server, error) {
	port, err := r.freePort()
	if err != nil {
		return nil, err
	}
	dir, err := r.folder(name)
	if err != nil {
		return nil, err
	}
	return &Server{
		rig: r, name: name, url: "nats://" + loopback(port), dir: dir, file: filepath.Join(dir, "nats.conf"),
		fixed: fmt.Sprintf("server_name: %s\nlisten: %s\n", name, loopback(port)),
	}, nil
}

// URL is where clients find the server, running or not.
func (s *Server) URL() string { return s.url }

// Addr is the host and port of [Server.URL].
func (s *Server) Addr() string { return strings.TrimPrefix(s.url, "nats://") }

// Start starts the server, and returns when it takes connections.
func (s *Server) Start(ctx context.Context) error {
	p, err := s.rig.start(s.name, s.rig.programs.server, []string{"-c", s.file}, append(os.Environ(), s.Environ...))
	if err != nil {
		return err
	}
	s.Process = p
	return p.AwaitText(ctx, "Server is ready")
}

// Configure gives the server another configuration for its next start.
func (s *Server) Configure(config string) error { return s.write(config) }

// Reload gives the running server another configuration, and returns when it
// is in force.
func (s *Server) Reload(ctx context.Context, config string) error {
	if err := s.write(config); err != nil {
		return err
	}
	s.SkipLog()
	if err := s.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return s.AwaitText(ctx, "Reloaded server configuration")
}

func (s *Server) write(config string) error {
	text := s.fixed + strings.ReplaceAll(config, "DIR", strconv.Quote(filepath.Join(s.dir, "store")))
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("the configuration of %s cannot be written: %w", s.name, err)
	}
	return nil
}
