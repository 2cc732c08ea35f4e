package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
)

// fleet are the receivers and what was started for them.
type fleet struct {
	dir       string
	receivers []*receiver
	processes []*process
}

// stop ends all processes, waits for that, and removes what they stored.
func (f *fleet) stop() error {
	var stopping sync.WaitGroup
	for _, p := range f.processes {
		if p.name != brokerName {
			stopping.Go(p.stop)
		}
	}
	stopping.Wait()
	for _, p := range f.processes {
		p.stop() // the broker, which others are clients of until then
	}
	return os.RemoveAll(f.dir)
}

func (f *fleet) start(ctx context.Context, id, program string, args, environ []string) (*process, error) {
	p, err := startProcess(ctx, id, f.dir, program, args, environ)
	if err == nil {
		f.processes = append(f.processes, p)
	}
	return p, err
}

// add makes a receiver of a process. Its answers have to say that the webhook
// was new: storing nothing would be fast.
func (f *fleet) add(p *process, name string, broker *process) error {
	target, err := p.target(`"duplicate":false`)
	f.receivers = append(f.receivers, &receiver{id: p.name, name: name, target: target, pid: p.cmd.Process.Pid, broker: broker, idle: notMeasured})
	return err
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

// Ids of what is started here.
const (
	idFloor    = "floor"
	idExternal = "external"
	idAlways   = "always"
	idInterval = "interval"
)

// startAll starts what is measured, with empty folders.
func (f *fleet) startAll(ctx context.Context, program string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("this program cannot be run again as floor and broker: %w", err)
	}
	floor, err := f.start(ctx, idFloor, self, []string{floorName}, nil)
	if err != nil {
		return err
	}
	broker, err := f.start(ctx, brokerName, self, []string{brokerName, filepath.Join(f.dir, "broker")}, nil)
	if err != nil {
		return err
	}
	if err := f.add(floor, "floor (net/http)", nil); err != nil {
		return err
	}
	for _, relay := range []struct {
		id, name, variable string
		broker             *process
	}{
		{idExternal, "external broker", "NATS_URL=" + broker.ready["broker"], broker},
		{idAlways, "embedded, always", "RELAY_EMBEDDED_SYNC=always", nil},
		{idInterval, "embedded, interval", "RELAY_EMBEDDED_SYNC=interval", nil},
	} {
		p, err := f.start(ctx, relay.id, program, nil, relayEnviron(filepath.Join(f.dir, relay.id+"-data"), relay.variable))
		if err != nil {
			return err
		}
		if err := f.add(p, relay.name, relay.broker); err != nil {
			return err
		}
	}
	return nil
}

// relayEnviron are the variables of a relay: these, and where it listens and logs.
func relayEnviron(data string, variables ...string) []string {
	return append(variables, "RELAY_DATA_DIR="+data,
		"RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0", "RELAY_EMBEDDED_ADDR=127.0.0.1:0",
		"RELAY_LOG_FORMAT=json", "RELAY_LOG_LEVEL=info")
}
