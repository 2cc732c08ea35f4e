package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
)

// startServer runs a nats-server until the test ends.
func startServer(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.Port, options.NoLog, options.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not become ready")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

// startLeaf runs a server with JetStream in the domain hub, and a leaf node of it, with
// further options and a JetStream of its own.
func startLeaf(t *testing.T, options *server.Options) (hub, leaf *server.Server) {
	t.Helper()
	hub = startServer(t, &server.Options{ServerName: "hub", JetStream: true, JetStreamDomain: "hub", StoreDir: t.TempDir(), LeafNode: server.LeafNodeOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT}})
	about, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	remote := &server.RemoteLeafOpts{URLs: []*url.URL{{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", about.LeafNode.Port)}}}
	options.ServerName, options.JetStream, options.JetStreamDomain, options.StoreDir = "leaf", true, "leaf", t.TempDir()
	options.LeafNode.Remotes = []*server.RemoteLeafOpts{remote}
	return hub, startServer(t, options)
}

// The streams are in a hub, and the relay and its commands reach a leaf node only.
func TestJetStreamInAnotherDomain(t *testing.T) {
	t.Parallel()
	hub, leaf := startLeaf(t, &server.Options{})
	conn, err := nats.Connect(hub.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "COPY", Subjects: []string{"copy.>"}}); err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(fakeapi.New("key"))
	defer api.Close()
	environ := append(slices.Clone(freePorts), "NATS_URL="+leaf.ClientURL(), "NATS_JS_DOMAIN=hub", "APIXO_BASE_URL="+api.URL, "APIXO_API_KEY=key", "RELAY_EXPECT=true")
	program := programIn(t, t.TempDir())
	_, ready := runRelay(t, program, environ)

	command := func(environ []string, want int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if code := run(ctx, args, environ, strings.NewReader(""), &out, &out); code != want {
			t.Errorf("%v: exit code %d, want %d:\n%s", args, code, want, out.String())
		}
		return out.String()
	}
	webhooks := ready["webhooks"].(string)
	command(environ, exitDone, "send", "--url", webhooks, "--task-id", "task_1")
	command(environ, exitDone, "send", "--url", webhooks, "--task-id", "task_1", "--count", "2") // and the first is read for it
	command(environ, exitDone, "backfill", "--model", "m", "task_2")
	if out := command(environ, exitDone, "tail", "--from-seq", "1", "--count", "2"); !strings.Contains(out, "task_1") || !strings.Contains(out, "task_2") {
		t.Errorf("tail shows\n%s", out)
	}
	if out := command(environ, exitDone, "replay", "--from-seq", "1", "--to", "nats:copy.tasks"); strings.Contains(out, "no stream takes") {
		t.Errorf("replay looks for the stream elsewhere:\n%s", out)
	}
	if out := command(append(environ, "RELAY_ADMIN_ADDR=off"), exitDone, "check"); !strings.Contains(out, "this user may do all") || !strings.Contains(out, "ok    stream         APIXO takes apixo.task.>, and holds 2 messages") {
		t.Errorf("check says\n%s", out)
	} else if strings.Contains(out, "warn") || !strings.Contains(out, "bucket APIXO_EXPECTED") {
		t.Errorf("check warns:\n%s", out)
	}
	for name, want := range map[string]uint64{"APIXO": 2, "COPY": 2} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().State.Msgs; got != want {
			t.Errorf("%s has %d messages, want %d", name, got, want)
		}
	}

	// In one that is not there, it is said what to look at.
	wrong := append(environ, "NATS_JS_DOMAIN=nowhere", "RELAY_ADMIN_ADDR=off")
	for _, args := range [][]string{{"check"}, {"tail"}} {
		if out := command(wrong, exitFailed, args...); !strings.Contains(out, "in the domain nowhere") || !strings.Contains(out, "NATS_JS_DOMAIN") {
			t.Errorf("%v says\n%s", args, out)
		}
	}
	p, err := startProcess(program, append(wrong, "RELAY_DATA_DIR="+t.TempDir()), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := p.await("the streams cannot be used yet"); err != nil || !strings.Contains(line["error"].(string), "NATS_JS_DOMAIN") {
		t.Errorf("the log says %v, %v", line, err)
	}
	_ = p.cmd.Process.Kill()
	_ = p.wait()
}

// What a user may not ask of another domain is named by its subjects.
func TestPermissionsInAnotherDomain(t *testing.T) {
	t.Parallel()
	const denied = "$JS.hub.API.STREAM.INFO.APIXO"
	_, leaf := startLeaf(t, &server.Options{Users: []*server.User{{
		Username: "relay", Password: "relay", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{denied}}},
	}}})
	environ := append(slices.Clone(freePorts), "NATS_URL="+leaf.ClientURL(), "NATS_USER=relay", "NATS_PASSWORD=relay", "NATS_JS_DOMAIN=hub", "RELAY_ADMIN_ADDR=off")
	p, err := startProcess(programIn(t, t.TempDir()), append(environ, "RELAY_DATA_DIR="+t.TempDir()), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = p.cmd.Process.Kill()
		_ = p.wait()
	}()
	if line, err := p.await("the streams cannot be used yet"); err != nil || !strings.Contains(line["error"].(string), denied) {
		t.Errorf("the log says %v, %v", line, err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"check"}, environ, strings.NewReader(""), &out, &out); code != exitFailed || !strings.Contains(out.String(), "allow publishing to "+denied) {
		t.Errorf("check says\n%s", out.String())
	}
}
