package download_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
)

// origin serves at an address of the loopback network, and is ended with the test.
func origin(t testing.TB, handler http.HandlerFunc, start func(*httptest.Server)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(s)
	t.Cleanup(s.Close)
	return s
}

// client returns a client with these settings that is allowed origins as they stand.
func client(t testing.TB, o download.Options, origins ...string) *download.Client {
	t.Helper()
	o.Hosts = append(o.Hosts, origins...)
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 20
	}
	o.Agent = "apixo-relay/test"
	c := download.New(o)
	t.Cleanup(c.Close)
	return c
}

// get downloads an address.
func get(ctx context.Context, c *download.Client, address string) (string, error) {
	f, err := c.Open(ctx, address)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

// mustFail returns the error of an address that cannot be downloaded.
func mustFail(t *testing.T, c *download.Client, address string) *download.Error {
	t.Helper()
	body, err := get(t.Context(), c, address)
	fault, ok := errors.AsType[*download.Error](err)
	if !ok {
		t.Fatalf("%s: %d bytes, %v", address, len(body), err)
	}
	return fault
}

// want checks what an error says.
func want(t *testing.T, e *download.Error, reason string, temporary bool, details ...string) {
	t.Helper()
	if e.Reason != reason || e.Temporary != temporary {
		t.Errorf("%s, temporary %v: %s; want %s, %v", e.Reason, e.Temporary, e.Detail, reason, temporary)
	}
	for _, detail := range details {
		if !strings.Contains(e.Detail, detail) {
			t.Errorf("the detail has no %q: %s", detail, e.Detail)
		}
	}
}

// public is a server with TLS at 127.0.0.2, which a client takes for a public address; at the
// same port of 127.0.0.1 and ::1 there are canaries, which nobody may connect to.
type public struct {
	*httptest.Server
	port string
	sung atomic.Int32
	*nameServer
}

func newPublic(t testing.TB, handler http.HandlerFunc, start func(*httptest.Server)) *public {
	t.Helper()
	p := &public{nameServer: newNameServer(t)}
	p.Server = origin(t, handler, func(s *httptest.Server) {
		s.Listener.Close()
		for s.Listener = nil; s.Listener == nil; {
			l := listen(t, "127.0.0.2:0")
			_, p.port, _ = net.SplitHostPort(l.Addr().String())
			canary, err := net.Listen("tcp", "127.0.0.1:"+p.port)
			if err != nil {
				l.Close() // taken: try another
				continue
			}
			s.Listener = l
			p.watch(t, canary)
		}
		if canary, err := net.Listen("tcp", "[::1]:"+p.port); err == nil {
			p.watch(t, canary)
		}
		start(s)
	})
	return p
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// watch counts connections to a canary, which cannot be accepted in secret.
func (p *public) watch(t testing.TB, canary net.Listener) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := canary.Accept()
			if err != nil {
				return
			}
			p.sung.Add(1)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		canary.Close()
		<-done
		if n := p.sung.Load(); n > 0 {
			t.Errorf("%d connections were made to %s", n, canary.Addr())
		}
	})
}

// client returns a client for which any name is allowed, and looked up at the name server.
func (p *public) client(t testing.TB, o download.Options) *download.Client {
	t.Helper()
	if o.Hosts == nil {
		o.Hosts = config.Origins{"*"}
	}
	o.Resolver = p.resolver()
	c := client(t, o)
	c.Rig(p.port, p.Certificate())
	return c
}

// nameServer answers questions about names by UDP.
type nameServer struct {
	conn net.PacketConn
	mu   sync.Mutex
	next map[string][]string
}

func newNameServer(t testing.TB) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, next: map[string][]string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return s
}

// means has a name mean something: one answer for each time that it is looked up, the last
// one for ever. An answer is addresses, or other names in front of them.
func (s *nameServer) means(name string, answers ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next[name] = answers
}

func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
}

func (s *nameServer) serve() {
	buffer := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		s.answer(&m)
		if answer, err := m.Pack(); err == nil {
			s.conn.WriteTo(answer, from)
		}
	}
}

// answer fills in what the next answer about a name is. A client asks for both kinds of
// addresses; they count as one look-up, by the question for the older kind.
func (s *nameServer) answer(m *dnsmessage.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	question := m.Questions[0]
	name := strings.TrimSuffix(question.Name.String(), ".")
	answers, ok := s.next[name]
	if !ok {
		m.RCode = dnsmessage.RCodeNameError
		return
	}
	header := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET}
	for answer := range strings.FieldsSeq(answers[0]) {
		address, err := netip.ParseAddr(answer)
		switch {
		case err != nil:
			alias := dnsmessage.MustNewName(answer + ".")
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.CNAMEResource{CNAME: alias}})
			header.Name = alias
		case address.Is4() && question.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: address.As4()}})
		case address.Is6() && question.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}})
		}
	}
	if question.Type == dnsmessage.TypeA && len(answers) > 1 {
		s.next[name] = answers[1:]
	}
}
