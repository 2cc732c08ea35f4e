package faults

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/hostile"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// floodRows are strangers who open more connections to a port than there are
// descriptors, and again as soon as they are closed.
var floodRows = []Row{
	{
		Name: "flood-webhooks", Fault: "the port for webhooks flooded",
		Injected: floodInjected + "silent; HTTP/2's preface and SETTINGS; half of a head; a head and no body, with a wrong token and without one; a request that gets 401 or 404, and then nothing",
		run: func(t *trial) {
			t.flooded(flood{kinds: strangersOf(hostile.Path), addr: func(r *rig.Relay) string { return r.Sender.Addr() }})
		},
	},
	{
		Name: "flood-webhooks-tls", Fault: "the port for webhooks flooded, with TLS",
		Injected: floodInjected + "silent; half of a ClientHello, and a whole one; a handshake and then nothing, HTTP/2's preface and SETTINGS, half of a head, or a request that gets 401",
		run: func(t *trial) {
			t.flooded(flood{kinds: secureStrangers(t), secure: true, addr: func(r *rig.Relay) string { return r.Sender.Addr() }})
		},
	},
	{
		Name: "flood-admin", Fault: "the port for probes flooded",
		Injected: floodInjected + "silent; half of a head; a head and no body; a request that gets 200 or 404, and then nothing. Probes go on as well, each on a new connection",
		run: func(t *trial) {
			t.flooded(flood{kinds: strangersOf("/healthz"), probed: true, addr: func(r *rig.Relay) string { return strings.TrimPrefix(r.Admin, "http://") }})
		},
	},
	{
		Name: "flood-broker", Fault: "the embedded broker's port flooded",
		Injected: floodInjected + "silent; half of a CONNECT; one with a wrong token; a PING without one; TLS and HTTP. The broker asks for a token",
		run: func(t *trial) {
			t.flooded(flood{kinds: brokerStrangers, addr: func(r *rig.Relay) string { return strings.TrimPrefix(r.Broker, "nats://") }})
		},
	},
}

const (
	floodInjected = "a relay with the embedded broker and 1,024 descriptors; 2,000 connections, each made again as soon as it is closed, beside webhooks of 150 kB on a new connection each. They are, by turns: "

	floodConnections = 2000
	floodDescriptors = 1024
	floodBody        = 150_000
	// floodSenders wait for a turn most of the time.
	floodSenders = 16
	// floodBudget is how long a webhook may take meanwhile, where nobody else works.
	floodBudget = 2 * time.Second
	floodToken  = "flood-9f3c2a7d51e84b06a1d27c9955"
)

// flood is what is flooded, and how.
type flood struct {
	kinds  []rig.Flooder
	addr   func(*rig.Relay) string
	secure bool // webhooks come by HTTPS
	probed bool // probes are asked for meanwhile
}

// http2Settings is how HTTP/2 begins: the preface, and an empty SETTINGS frame.
const http2Settings = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// strangersOf are those of a port for HTTP at which there is that path.
func strangersOf(path string) []rig.Flooder {
	wrong := path + "/" + strings.Repeat("x", len(hostile.Token))
	return []rig.Flooder{
		{Name: "silent"},
		{Name: "HTTP/2", Text: http2Settings},
		{Name: "half a head", Text: "POST " + path + " HTTP/1.1\r\nHost: h\r\n"},
		{Name: "no body, wrong token", Text: hostile.Head("POST "+wrong, "Content-Length: 1000")},
		{Name: "no body, no token", Text: hostile.Head("POST "+path, "Content-Length: 1000")},
		{Name: "answered", Text: hostile.Head("GET " + path)},
		{Name: "not found", Text: hostile.Head("POST /nowhere", "Content-Length: 0")},
		{Name: "refused", Text: hostile.Head("POST "+path, "Content-Length: 0")},
	}
}

func secureStrangers(t *trial) []rig.Flooder {
	hello, err := clientHello()
	t.must(err)
	h1 := []string{"http/1.1"}
	silent, half := rig.Flooder{Name: "silent"}, rig.Flooder{Name: "half a ClientHello", Text: hello[:len(hello)/2]}
	// Handshakes are fewer: this machine has to do both sides of them.
	return []rig.Flooder{
		silent, half, {Name: "a ClientHello", Text: hello},
		silent, half, {Name: "a handshake", Secure: true, Protocols: h1},
		silent, half, {Name: "HTTP/2", Secure: true, Protocols: []string{"h2"}, Text: http2Settings},
		silent, half, {Name: "half a head", Secure: true, Protocols: h1, Text: "POST " + hostile.Path + " HTTP/1.1\r\nHost: h\r\n"},
		silent, half, {Name: "refused", Secure: true, Protocols: h1, Text: hostile.Head("POST "+hostile.Path, "Content-Length: 0")},
	}
}

// clientHello is how a client begins with TLS.
func clientHello() (string, error) {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake() // which nobody answers
	}()
	text := make([]byte, 4096)
	n, err := server.Read(text)
	return string(text[:n]), err
}

var brokerStrangers = []rig.Flooder{
	{Name: "silent"},
	{Name: "half a CONNECT", Text: `CONNECT {"verbose":false,`},
	{Name: "a wrong token", Text: `CONNECT {"verbose":false,"auth_token":"` + strings.Repeat("x", 32) + "\"}\r\nPING\r\n"},
	{Name: "a PING", Text: "PING\r\n"},
	{Name: "TLS", Text: "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"},
	{Name: "HTTP", Text: "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
}

// flooded floods a relay while webhooks are sent to it.
func (t *trial) flooded(f flood) {
	t.must(rig.OwnDescriptors(2*floodConnections + 1000))
	environ := []string{"RELAY_WEBHOOK_TOKENS=" + hostile.Token, "NATS_TOKEN=" + floodToken}
	if f.secure {
		cert, key, err := t.NewCertificate()
		t.must(err)
		environ = append(environ, "RELAY_TLS_CERT_FILE="+cert, "RELAY_TLS_KEY_FILE="+key)
	}
	r, err := t.StartLimitedRelay(t.ctx, floodDescriptors, environ...)
	t.must(err)
	transport := &http.Transport{DisableKeepAlives: true}
	if f.secure {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	flooding := rig.StartFlood(t.ctx, f.addr(r), floodConnections, f.kinds)
	for flooding.Begun() < floodConnections/2 {
		t.sleep(10 * time.Millisecond)
	}
	load := t.NewSenderOver(r.URL(), transport).Vary(inPath(hostile.Token)).StartLoad(t.ctx, "task", rig.Pace{Workers: floodSenders, Padding: floodBody})
	share := t.watchShare(r)
	descriptors, slowest, probes := 0, time.Duration(0), 0
	for end := time.Now().Add(t.duration(8*time.Second, time.Minute)); time.Now().Before(end); t.sleep(100 * time.Millisecond) {
		open, err := r.Descriptors()
		t.must(err)
		descriptors = max(descriptors, open)
		if f.probed {
			start := time.Now()
			t.must(t.probe(r))
			slowest, probes = max(slowest, time.Since(start)), probes+1
		}
	}
	o := load.Stop()
	budget := share.stretch(t, t.inTime(floodBudget))
	made := flooding.Stop()
	t.count(o)
	t.only(o)
	t.within(o, budget)
	t.within(rig.Outcome{Slowest: slowest}, budget)
	t.must(r.Ready(t.ctx))
	t.must(r.Healthy(t.ctx))
	t.audit(strings.Replace(r.Broker, "nats://", "nats://"+floodToken+"@", 1))
	if text := "too many open files"; strings.Contains(r.Log(), text) {
		t.fail("the relay met %q", text)
	}
	peak, err := r.PeakMemory()
	t.must(err)
	if peak > memoryBound {
		t.fail("the relay's memory came to %d MiB, over the README's bound of %d MiB", peak>>20, memoryBound>>20)
	}
	total := 0
	for i, n := range made {
		if total += n; n == 0 {
			t.fail("no connection was made that is to be %q", f.kinds[i].Name)
		}
	}
	t.note("%s connections were made; at its peak the relay had %d descriptors and %d MiB", Thousands(total), descriptors, peak>>20)
	if f.probed {
		t.note("the slowest of %d probes took %s", probes, slowest.Round(time.Millisecond))
	}
}

// probe asks once whether the relay is ready, on a new connection.
func (t *trial) probe(r *rig.Relay) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := client.Get(r.Admin + "/readyz")
	if err != nil {
		return fmt.Errorf("a probe got no answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("a probe got %s: %s", resp.Status, body)
	}
	return err
}
