package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Relay is a relay in a process of its own, and the sender of its webhooks.
type Relay struct {
	*Process
	*Sender

	// Admin is the URL of its admin endpoint, Broker that of its broker.
	Admin, Broker string
	// Dir is its RELAY_DATA_DIR, unless that was given otherwise.
	Dir string
	// Program is the file that [Relay.Restart] starts: that of the rig, unless it is changed.
	Program string

	rig     *Rig
	environ []string

	descriptors int // 0 means no limit of its own
}

// StartRelay starts a relay with variables such as "NATS_URL=nats://…", and
// returns when it is listening, which it does without a broker too. Its webhooks
// have an address that it can have again after [Relay.Restart].
func (r *Rig) StartRelay(ctx context.Context, environ ...string) (*Relay, error) {
	return r.StartLimitedRelay(ctx, 0, environ...)
}

// StartLimitedRelay is [Rig.StartRelay] for a relay that may have so many descriptors
// and no more, from its beginning on; 0 means as many as this process.
func (r *Rig) StartLimitedRelay(ctx context.Context, descriptors int, environ ...string) (*Relay, error) {
	return r.startRelay(ctx, r.programs.relay, descriptors, environ)
}

// StartOtherRelay is [Rig.StartRelay] for another version of the program; see
// [Programs.BuildVersion].
func (r *Rig) StartOtherRelay(ctx context.Context, program string, environ ...string) (*Relay, error) {
	return r.startRelay(ctx, program, 0, environ)
}

func (r *Rig) startRelay(ctx context.Context, program string, descriptors int, environ []string) (*Relay, error) {
	dir, err := r.folder("relay")
	if err != nil {
		return nil, err
	}
	port, err := r.freePort()
	if err != nil {
		return nil, err
	}
	relay := &Relay{rig: r, Dir: dir, Program: program, descriptors: descriptors}
	relay.environ = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		"RELAY_LISTEN_ADDR=" + loopback(port), "RELAY_ADMIN_ADDR=127.0.0.1:0",
		"RELAY_EMBEDDED_ADDR=127.0.0.1:0", "RELAY_DATA_DIR=" + dir,
		"RELAY_LOG_FORMAT=json",
	}, environ...)
	if err := relay.Restart(ctx); err != nil {
		return nil, err
	}
	return relay, nil
}

// Set adds variables to those that the next [Relay.Restart] gives to the relay, or replaces
// some of them.
func (r *Relay) Set(environ ...string) { r.environ = slices.Concat(r.environ, environ) }

// Restart starts a relay that has ended once more, with the same folder and
// variables. Its sender stays, and so does a load that it is sending.
func (r *Relay) Restart(ctx context.Context) error {
	return r.startOn(ctx, nil)
}

// RestartOnTerminal is [Relay.Restart] on a pseudo-terminal of its own. The function
// that it returns closes that, as the end of a connection does.
func (r *Relay) RestartOnTerminal(ctx context.Context) (hangUp func() error, err error) {
	emulator, device, err := openTerminal()
	if err != nil {
		return nil, err
	}
	defer device.Close()
	r.rig.onClose(closer(func() error { _ = emulator.Close(); return nil })) // which may have been
	return emulator.Close, r.startOn(ctx, device)
}

func (r *Relay) startOn(ctx context.Context, terminal *os.File) error {
	program, args := r.Program, []string(nil)
	if r.descriptors > 0 {
		program, args = "/bin/sh", []string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0"`, r.descriptors), program}
	}
	p, err := r.rig.startOn(terminal, "relay", program, args, r.environ)
	if err != nil {
		return err
	}
	r.Process = p
	line, err := r.AwaitMessage(ctx, "ready")
	if err != nil {
		return err
	}
	if r.Sender == nil {
		// Who sends where tokens are asked for brings one: see [Sender.Vary].
		r.Sender = r.rig.NewSender(strings.TrimSuffix(text(line["webhooks"]), "/TOKEN"))
	}
	r.Admin, r.Broker = text(line["admin"]), text(line["broker"])
	return nil
}

// StartCommand starts another command of the relay's program, with the relay's variables
// and further ones. What it prints is its log.
func (r *Relay) StartCommand(args []string, environ ...string) (*Process, error) {
	return r.rig.start(args[0], r.Program, args, slices.Concat(r.environ, environ))
}

// Command runs a command of the relay's program to its end, with the relay's variables
// and more, and returns its exit code and what it wrote to standard error.
func (r *Relay) Command(ctx context.Context, environ []string, args ...string) (code int, said string, err error) {
	p, err := r.StartCommand(args, environ...)
	if err != nil {
		return 0, "", err
	}
	code, err = p.Wait(ctx)
	return code, p.Log(), err
}

// Secure reports whether webhooks come by HTTPS.
func (r *Relay) Secure() bool { return r.tls != nil }

func text(v any) string { s, _ := v.(string); return s }

// AwaitMessage waits for a line of the relay's log with that message, as
// [Process.Await] does, and returns its attributes.
func (r *Relay) AwaitMessage(ctx context.Context, msg string) (map[string]any, error) {
	var attributes map[string]any
	_, err := r.Await(ctx, fmt.Sprintf("%q", msg), func(line string) bool {
		attributes = nil
		return json.Unmarshal([]byte(line), &attributes) == nil && attributes["msg"] == msg
	})
	return attributes, err
}

// Stop ends the relay in order (SIGTERM), and returns its exit code.
func (r *Relay) Stop(ctx context.Context) (int, error) {
	if err := r.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	return r.Wait(ctx)
}
