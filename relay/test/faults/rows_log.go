package faults

import (
	"encoding/json"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// logRows are faults of what reads the relay's log, and signals that are not the end.
var logRows = []Row{
	{
		Name: "log-stalled", Fault: "whoever reads the log stops reading",
		Injected: "the pipe that the log goes to is not read until more than 2,000 lines are dropped, under load, and read again; at last SIGTERM while it is not read",
		run:      logStalled,
	},
	{
		Name: "log-gone", Fault: "whoever reads the log ends",
		Injected: "the reading end of the pipe that standard error and output go to is closed under load",
		run:      logGone,
	},
	{
		Name: "signals", Fault: "signals that are no reason to end, and a terminal that is closed",
		Injected: "tokens, certificate, key and client authorities replaced, and SIGHUP, SIGUSR1, SIGUSR2, SIGALRM and SIGPIPE, under load; then relays on a pseudo-terminal that is closed",
		run:      signals,
	},
}

const (
	droppedLines = "apixo_relay_log_lines_dropped_total"
	// stallMemory is what the relay's memory may grow by while its log is not read: the
	// buffer of 1 MiB, and what any load leaves to the collector.
	stallMemory = 64 << 20
)

func logStalled(t *trial) {
	r := t.embedded()
	load := r.StartLoad(t.ctx, "task", rig.Pace{})
	t.must(load.AwaitAccepted(t.ctx, 5000)) // all buffers are as large as they get
	before, err := r.PeakMemory()
	t.must(err)
	n := t.times(2, 8)
	for i := range n {
		t.round(i, n)
		resume := r.PauseLog()
		t.drops(r, 2000)
		t.must(r.Ready(t.ctx))
		t.must(r.Healthy(t.ctx))
		resume()
		t.must(r.AwaitText(t.ctx, "log lines are missing here"))
	}
	o := load.Stop()
	t.count(o)
	t.only(o)
	t.within(o, budget)
	peak, err := r.PeakMemory()
	t.must(err)
	if grown := peak - before; grown > stallMemory {
		t.fail("the relay's memory grew by %d MiB", grown>>20)
	}
	dropped := t.metric(r, droppedLines)
	t.audit(r.Broker)
	code, err := r.Stop(t.ctx)
	t.must(err)
	written, told := readLog(r.Log())
	if written+dropped != o.Sent() || told != dropped || code != 0 {
		t.fail("%d webhooks, %d lines about them in the log, which says that %d are missing, and %d counted as dropped; exit code %d", o.Sent(), written, told, dropped, code)
	}
	t.note("%s of %s lines were dropped", Thousands(dropped), Thousands(o.Sent()))
	t.must(r.Restart(t.ctx))
	t.endsStalled(r)
}

// endsStalled has a relay end whose log is not read.
func (t *trial) endsStalled(r *rig.Relay) {
	load := r.StartLoad(t.ctx, "last", rig.Pace{})
	resume := r.PauseLog()
	t.drops(r, 100)
	o := load.Stop()
	t.count(o)
	t.only(o)
	start := time.Now()
	t.must(r.Signal(syscall.SIGTERM))
	for !r.Ended() {
		if time.Since(start) > budget {
			t.fail("the relay has not ended %s after SIGTERM", budget)
			break
		}
		t.sleep(10 * time.Millisecond)
	}
	t.note("SIGTERM ended it after %.1f s", time.Since(start).Seconds())
	resume()
	if code, err := r.Wait(t.ctx); err != nil || code != 0 {
		t.fail("it ended with %d, %v", code, err)
	}
	t.must(r.Restart(t.ctx))
	t.audit(r.Broker)
}

// drops waits until so many more lines are dropped.
func (t *trial) drops(r *rig.Relay, n int) {
	for start := t.metric(r, droppedLines); t.metric(r, droppedLines) < start+n; {
		t.sleep(20 * time.Millisecond)
	}
}

// metric is a whole number that the relay tells.
func (t *trial) metric(r *rig.Relay, name string) int {
	v, err := r.Metric(t.ctx, name)
	t.must(err)
	return int(v)
}

// readLog counts the lines about webhooks, and those that the log says are missing.
func readLog(log string) (webhooks, missing int) {
	for line := range strings.Lines(log) {
		var l struct {
			Msg     string
			Dropped int
		}
		if json.Unmarshal([]byte(line), &l) != nil {
			continue
		}
		missing += l.Dropped
		if l.Msg == "webhook" {
			webhooks++
		}
	}
	return webhooks, missing
}

func logGone(t *trial) {
	r := t.embedded()
	n := t.times(3, 20)
	for i := range n {
		t.round(i, n)
		load := r.StartLoad(t.ctx, "task_"+Thousands(i), rig.Pace{})
		t.must(load.AwaitAccepted(t.ctx, 300))
		r.CloseLog()
		t.drops(r, 300)
		t.must(load.AwaitAccepted(t.ctx, 300))
		t.must(r.Ready(t.ctx))
		t.must(r.Healthy(t.ctx))
		o := load.Stop()
		t.count(o)
		t.only(o)
		t.within(o, budget)
		if code, err := r.Stop(t.ctx); err != nil || code != 0 {
			t.fail("after SIGTERM it ended with %d, %v", code, err)
		}
		t.must(r.Restart(t.ctx))
	}
	t.audit(r.Broker)
}

func signals(t *trial) {
	if signal.Ignored(syscall.SIGHUP) { // by nohup, and so by the relays, too
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
		defer signal.Ignore(syscall.SIGHUP)
	}
	dir, err := t.NewFolder("secrets")
	t.must(err)
	server, err := rig.NewAuthority("servers")
	t.must(err)
	r := &rotation{trial: t, server: server}
	r.replace = func(version int, files map[string][]byte) error {
		if err := renamed(dir, version, files); err != nil || r.relay == nil {
			return err
		}
		for _, s := range append(ignoredSignals(), syscall.SIGHUP) {
			t.must(r.relay.Signal(s))
		}
		return r.relay.AwaitText(t.ctx, "reading tokens and certificates again")
	}
	r.next = r.generation(1)
	r.write(r.next)
	r.relay = t.embedded("RELAY_WEBHOOK_TOKENS_FILE="+filepath.Join(dir, "tokens"),
		"RELAY_TLS_CERT_FILE="+filepath.Join(dir, "tls.crt"), "RELAY_TLS_KEY_FILE="+filepath.Join(dir, "tls.key"), "RELAY_TLS_CLIENT_CA_FILE="+filepath.Join(dir, "ca.crt"))
	r.start()
	n := t.times(4, 20)
	for i := range n {
		t.round(i, n)
		r.rotate(2 + i)
	}
	r.stop()
	t.audit(r.relay.Broker)
	t.note("new secrets were in force %.0f ms after SIGHUP, and old ones no longer after %.0f ms, at the latest", 1000*r.slowestNew.Seconds(), 1000*r.slowestOld.Seconds())
	t.rounds = nil // which are in the stream of this relay
	r.relay.Kill()
	t.hangUps()
}

// hangUps closes the terminals of relays, each under load.
func (t *trial) hangUps() {
	r := t.embedded()
	for i := range t.times(2, 10) {
		r.Kill()
		hangUp, err := r.RestartOnTerminal(t.ctx)
		t.must(err)
		load := r.StartLoad(t.ctx, "terminal_"+Thousands(i), rig.Pace{})
		t.must(load.AwaitAccepted(t.ctx, 100))
		t.must(hangUp())
		if code, err := r.Wait(t.ctx); err != nil || code != 0 {
			t.fail("when its terminal was closed it ended with %d, %v", code, err)
		}
		o := load.Stop()
		t.count(o)
		t.only(o, "refused", "closed", "draining")
	}
	t.must(r.Restart(t.ctx))
	t.audit(r.Broker)
}
