package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/hostile"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// protocolRows are connections that do not begin with a request in HTTP/1.
var protocolRows = []Row{
	{
		Name: "other-protocols", Fault: "connections that speak another protocol than HTTP/1, and PROXY headers that claim an address",
		Injected: "from 8 connections, one after the other, 12,000 in all at the most: PROXY headers by whoever is no proxy, PROXY headers of senders that may not send, malformed ones, TLS and junk to the plain port; beside good webhooks over HTTP/1, HTTP/2 without TLS and behind PROXY headers",
		run:      otherProtocols,
	},
}

// claimed is an address that may send, of nobody here.
const claimed = "203.0.113.7"

// proxyHeader is a header of the PROXY protocol, for a sender.
func proxyHeader(sender string) string {
	return "PROXY TCP4 " + sender + " 198.51.100.1 4711 443\r\n"
}

// stranger is a connection that has to be refused.
type stranger struct {
	name, from, text string
	status           string // of the answer, empty where there is none
	counted          bool   // refused before it was a request
}

func strangers() []stranger {
	body := rig.Webhook("intruder", "success", 0)
	request := hostile.Head("POST "+hostile.Path+"/"+hostile.Token, fmt.Sprintf("Content-Length: %d", len(body)), "Connection: close") + body
	const bad = "HTTP/1.1 400"
	return []stranger{
		{"an address claimed by no proxy", outsider, proxyHeader(claimed) + request, bad, true},
		{"an address claimed by no proxy, version 2", outsider, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xcb\x00\x71\x08\x00\x01\x00\x02" + request, bad, true},
		{"no address that may send, behind a proxy", aProxy, proxyHeader(outsider) + request, "HTTP/1.1 403", false},
		{"a proxy itself", aProxy, request, "HTTP/1.1 403", false},
		{"a malformed header", aProxy, "PROXY TCP4 " + hostile.Mark + "\r\n" + request, "", true},
		{"TLS", insider, "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + hostile.Mark + "\n", bad, true},
		{"junk", insider, hostile.Mark + "\x00\x01\r\n\r\n", bad, true},
		{"nothing", insider, "", "", false},
	}
}

// knock writes what a stranger has to say, and returns what comes.
func (t *trial) knock(addr string, s stranger) (string, error) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.from)}}
	conn, err := dialer.DialContext(t.ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patient)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, s.text); err != nil {
		return "", err
	}
	_ = conn.(*net.TCPConn).CloseWrite() // fails if it has been refused by now
	answer, err := io.ReadAll(conn)
	if len(answer) > 0 || s.status == "" {
		err = nil // a reset, since not all was read
	}
	return string(answer), err
}

// mostKnocks is how many connections one of the strangers makes, or all that this machine
// has of ports would wait for their connections to be forgotten.
const mostKnocks = 1500

func otherProtocols(t *trial) {
	r := t.embedded("RELAY_WEBHOOK_TOKENS="+hostile.Token, "RELAY_PROXY_PROTOCOL=true", "RELAY_TRUSTED_PROXIES="+aProxy, "RELAY_ALLOWED_CIDRS="+insider+","+claimed)
	_ = t.from(r.URL(), aProxy) // is there such an address?
	proxied := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(aProxy)}}).DialContext(ctx, network, addr)
		if err == nil {
			_, err = io.WriteString(conn, proxyHeader(claimed))
		}
		return conn, err
	}}
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	var loads []*rig.Load
	for name, s := range map[string]*rig.Sender{"http1": r.Sender, "http2": t.NewSenderOver(r.URL(), h2c), "proxied": t.NewSenderOver(r.URL(), proxied)} {
		loads = append(loads, s.Vary(inPath(hostile.Token)).StartLoad(t.ctx, name, rig.Pace{Workers: 3}))
	}

	begun := time.Now()
	end := begun.Add(t.duration(3*time.Second, time.Minute))
	all := strangers()
	var tries, refused atomic.Int64
	var knocking sync.WaitGroup
	failures := make([]string, 8)
	for worker := range failures {
		knocking.Go(func() {
			for i := worker; t.ctx.Err() == nil && (i < 4*len(all) || i < mostKnocks && time.Now().Before(end)); i++ {
				s := all[i%len(all)]
				answer, err := t.knock(r.Sender.Addr(), s)
				tries.Add(1)
				if s.counted {
					refused.Add(1)
				}
				if err != nil || !strings.HasPrefix(answer, s.status) || s.status == "" && answer != "" {
					failures[worker] = fmt.Sprintf("%s: %q came (%v), and %q is due", s.name, answer, err, s.status)
					return
				}
			}
		})
	}
	knocking.Wait()
	for _, failure := range failures {
		if failure != "" {
			t.fail("%s", failure)
		}
	}
	t.answered(int(tries.Load()), 0, 0)
	for _, load := range loads {
		t.goesOn(load, 1) // to the end
		o := load.Stop()
		t.count(o)
		t.only(o)
		t.within(o, 20*time.Second)
	}

	var counted float64
	for until := time.Now().Add(patient); int64(counted) != refused.Load() && time.Now().Before(until); t.sleep(10 * time.Millisecond) {
		var err error
		counted, err = r.Metric(t.ctx, "apixo_relay_http_errors_total")
		t.must(err)
	}
	if int64(counted) != refused.Load() {
		t.fail("%v were refused before they were a request by the metrics, and %d were", counted, refused.Load())
	}
	lines := strings.Count(r.Log(), "refused before it was a request")
	if most := 3 + int(time.Since(begun)/(20*time.Second)) + 1; lines == 0 || lines > most {
		t.fail("%d lines tell of refusals, and %d may", lines, most)
	}
	if strings.Contains(r.Log(), hostile.Mark) || strings.Contains(r.Log(), hostile.Token) {
		t.fail("what came from outside is in the log as it came")
	}
	for id := range t.audit(r.Broker) {
		if strings.Contains(id, "intruder") {
			t.fail("the stream holds %s", id)
		}
	}
	t.quarantineHolds(r.Broker, nil)
	t.note("%d strangers, %d of them refused before they were a request, %d lines", tries.Load(), refused.Load(), lines)
}
