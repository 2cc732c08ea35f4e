package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"sync"
)

// Ids of what is started here.
const (
	idFloor           = "floor"
	idNaive           = "naive"
	idExternal        = "external"
	idAlways          = "always"
	idInterval        = "interval"
	idAgainstExternal = "against-external"
	idAgainstAlways   = "against-always"
	idBroker          = "nats-server"
)

// fleet are the receivers and what was started for them.
type fleet struct {
	dir       string
	receivers []*receiver
	processes []*process // each after the broker that it is a client of
}

// stop ends all processes, waits for that, and removes what they stored.
func (f *fleet) stop() error {
	var stopping, brokers sync.WaitGroup
	for _, p := range f.processes {
		if p.name != idBroker {
			stopping.Go(p.stop)
		}
	}
	stopping.Wait()
	for _, p := range f.processes {
		brokers.Go(p.stop) // again, which does nothing, but for the brokers
	}
	brokers.Wait()
	return os.RemoveAll(f.dir)
}

// start starts a program in a folder of its own.
func (f *fleet) start(ctx context.Context, id, program string, args, environ []string) (*process, error) {
	dir, err := os.MkdirTemp(f.dir, id+"-")
	if err != nil {
		return nil, err
	}
	p, err := startProcess(ctx, id, dir, program, args, environ)
	if err == nil {
		f.processes = append(f.processes, p)
	}
	return p, err
}

// startAll starts what is measured, with empty folders, and a broker of its own
// for each that needs one, so that none pays for what another has stored.
func (f *fleet) startAll(ctx context.Context, o options) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("this program cannot be run again as broker: %w", err)
	}
	if o.against == "" && o.hasAgainst() {
		o.against = o.relay
	}
	for _, one := range []struct {
		id, name, program string
		external          bool
		variable          string
	}{
		{idFloor, "floor (net/http)", o.peer, false, ""},
		{idNaive, "naive handler", o.peer, true, ""},
		{idExternal, "relay, external", o.relay, true, "NATS_URL="},
		{idAgainstExternal, "against, external", o.against, true, "NATS_URL="},
		{idAlways, "relay, always", o.relay, false, "RELAY_EMBEDDED_SYNC=always"},
		{idAgainstAlways, "against, always", o.against, false, "RELAY_EMBEDDED_SYNC=always"},
		{idInterval, "relay, interval", o.relay, false, "RELAY_EMBEDDED_SYNC=interval"},
	} {
		if one.program == "" {
			continue // --against was not given
		}
		r := &receiver{id: one.id, name: one.name}
		address := ""
		if one.external {
			if r.broker, err = f.start(ctx, idBroker, self, []string{idBroker, "."}, nil); err != nil {
				return err
			}
			address = r.broker.ready["broker"]
		}
		var args, environ []string
		switch {
		case one.program != o.peer:
			environ = relayEnviron("data", one.variable+address)
			if one.id == idAgainstExternal || one.id == idAgainstAlways {
				environ = append(environ, o.againstEnv...)
			}
		case one.external:
			args = []string{one.id, address}
		default:
			args = []string{one.id}
		}
		p, err := f.start(ctx, one.id, one.program, args, environ)
		if err != nil {
			return err
		}
		r.pid = p.cmd.Process.Pid
		// Answers have to say that the webhook was new: storing nothing would be fast.
		if r.target, err = p.target(`"duplicate":false`); err != nil {
			return err
		}
		f.receivers = append(f.receivers, r)
	}
	return nil
}

// find is the process with this id.
func (f *fleet) find(id string) *process {
	return f.processes[slices.IndexFunc(f.processes, func(p *process) bool { return p.name == id })]
}

// target is where a process says that webhooks arrive.
func (p *process) target(want string) (*target, error) {
	webhooks, err := url.Parse(p.ready["webhooks"])
	if err != nil {
		return nil, fmt.Errorf("%s does not say where webhooks arrive: %w", p.name, err)
	}
	// The form of callback URL that the README advises.
	webhooks.RawQuery = "model=nano-banana"
	return newTarget(webhooks, want)
}

// relayEnviron are the variables of a relay: these, and where it listens and logs.
func relayEnviron(data string, variables ...string) []string {
	return append(variables, "RELAY_DATA_DIR="+data,
		"RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0", "RELAY_EMBEDDED_ADDR=127.0.0.1:0",
		"RELAY_LOG_FORMAT=json", "RELAY_LOG_LEVEL=info")
}
