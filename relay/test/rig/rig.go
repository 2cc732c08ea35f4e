// Package rig runs the relay and its brokers as processes of their own, and
// breaks things between and under them: it kills, freezes and restarts them,
// cuts or silences their connections, makes their writes fail, fills their disk
// and steps their clocks.
//
// It does not need package testing, so that programs can use it too. What it
// starts has free ports of this machine and folders below a temporary one, and
// is gone after [Rig.Close], whatever happened before.
package rig

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
)

// Rig is what one test, or one run of a suite, has started.
type Rig struct {
	programs *Programs
	dir      string

	mu        sync.Mutex
	processes []*Process
	closers   []io.Closer
	closed    bool
}

// New makes a rig in a temporary folder. The caller closes it.
func New(programs *Programs) (*Rig, error) {
	dir, err := os.MkdirTemp("", "rig-")
	if err != nil {
		return nil, fmt.Errorf("no folder for the rig: %w", err)
	}
	return &Rig{programs: programs, dir: dir}, nil
}

// Close kills what still runs, waits for its end, and removes every file.
func (r *Rig) Close() error {
	r.mu.Lock()
	r.closed = true
	processes, closers := r.processes, r.closers
	r.mu.Unlock()
	for _, p := range processes {
		p.Kill()
	}
	var errs []error
	for _, c := range closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

// Processes are all that were started, those that have ended among them.
func (r *Rig) Processes() []*Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Process(nil), r.processes...)
}

// start runs a program until the rig is closed, or it ends.
func (r *Rig) start(name, program string, args, environ []string) (*Process, error) {
	return r.startOn(nil, name, program, args, environ)
}

// startOn is start with a terminal for standard input.
func (r *Rig) startOn(terminal *os.File, name, program string, args, environ []string) (*Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("%s cannot be started: the rig is closed", name)
	}
	p, err := startProcess(name, program, r.dir, args, environ, terminal)
	if err != nil {
		return nil, err
	}
	r.processes = append(r.processes, p)
	return p, nil
}

func (r *Rig) onClose(c io.Closer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closers = append(r.closers, c)
}

// folder is a new folder of the rig.
func (r *Rig) folder(name string) (string, error) {
	return os.MkdirTemp(r.dir, name+"-")
}

// NewFolder makes a folder of the rig for whatever a process is to be given.
func (r *Rig) NewFolder(name string) (string, error) { return r.folder(name) }

// UnusedAddr is an address of this machine where nobody listens, and where only who is told
// of it may, as often as wanted.
func (r *Rig) UnusedAddr() (string, error) {
	port, err := r.freePort()
	return loopback(port), err
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
