package archive

import (
	"crypto/tls"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/apixo-relay/apixo-relay/relay/test/testcert"
	"github.com/apixo-relay/apixo-relay/schema"
)

// programVariable tells a process of these tests that it is in a network of its own, and which
// program it tests.
const programVariable = "ARCHIVE_TEST_PROGRAM"

// Addresses of the network in which names change. The first is somebody's in the other one.
const (
	publicAddr    = "93.184.215.14"
	loopbackAddr  = "127.0.0.1"
	linkLocalAddr = "169.254.169.254"
)

// Names that mean an address inside, at once, the second time, or besides, and redirects to
// such: in a network where nothing else is, with a server of names, an origin at a public
// address by HTTPS, and listeners where nobody may connect to.
func TestNamesThatChange(t *testing.T) {
	t.Parallel()
	if os.Getenv(programVariable) != "" {
		inOwnNetwork(t)
		return
	}
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+loopbackAddr+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	own := func(script string, args ...string) *exec.Cmd {
		return exec.CommandContext(limited(t), "unshare", append([]string{"--net", "--mount", "sh", "-c", script}, args...)...)
	}
	const network = `ip link set lo up && ip addr add ` + publicAddr + `/32 dev lo && ip addr add ` + linkLocalAddr + `/32 dev lo && mount --bind "$0" /etc/resolv.conf`
	if out, err := own(network, resolv).CombinedOutput(); err != nil {
		t.Skipf("this user may have no network of their own: %v\n%s", err, out)
	}
	p, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	cmd := own(network+` && exec "$@"`, resolv, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), programVariable+"="+p.Relay())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in a network of its own: %v\n%s", err, out)
	}
}

func inOwnNetwork(t *testing.T) {
	ctx := limited(t)
	names := &nameServer{answers: map[string][]string{ // each time another, and the last from then on
		"cdn.apixo.ai.":      {publicAddr},
		"inside.apixo.ai.":   {loopbackAddr},
		"metadata.apixo.ai.": {linkLocalAddr},
		"rebound.apixo.ai.":  {publicAddr, loopbackAddr},
		"moved.apixo.ai.":    {publicAddr, linkLocalAddr},
	}}
	names.start(t)
	certFile, keyFile := testcert.Files(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "*.apixo.ai")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	o := originBy(t, func(s *httptest.Server) {
		s.Listener.Close()
		s.Listener = listen(t, publicAddr+":443")
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		s.StartTLS()
	})
	for _, addr := range []string{loopbackAddr + ":443", linkLocalAddr + ":443", linkLocalAddr + ":80", loopbackAddr + ":80"} {
		canaryOn(t, listen(t, addr))
	}

	const forbidden = schema.ReasonForbiddenAddress
	tasks := []task{
		good("task_good", "https://cdn.apixo.ai/ok/good-3000.png"),
		bad("task_inside", "https://inside.apixo.ai/ok/a-1000.png", forbidden),
		bad("task_metadata", "https://metadata.apixo.ai/ok/a-1000.png", forbidden),
		bad("task_number", "https://"+linkLocalAddr+"/latest/meta-data/", forbidden),
		bad("task_plain", "http://"+linkLocalAddr+"/latest/meta-data/", schema.ReasonNotHTTPS),
		bad("task_led", "https://cdn.apixo.ai/redirect/a.png?to=https://inside.apixo.ai/ok/a-1000.png", forbidden),
		bad("task_led_on", "https://cdn.apixo.ai/redirect/a.png?to=https://metadata.apixo.ai/ok/a-1000.png", forbidden),
		bad("task_led_away", "https://cdn.apixo.ai/redirect/a.png?to=http://"+linkLocalAddr+"/", schema.ReasonNotHTTPS),
		// Cut off at first, so that they are asked for twice, and have another address then.
		bad("task_rebound", "https://rebound.apixo.ai/cut,1/a-9000.png", forbidden),
		bad("task_moved", "https://moved.apixo.ai/cut,1/b-9000.png", forbidden),
	}
	relay := startRelay(ctx, t)
	deliver(ctx, t, relay, tasks...)
	at := &folder{dir: filepath.Join(t.TempDir(), "files")}
	environ := settings(relay, o, "SSL_CERT_FILE="+certFile, "RELAY_ARCHIVE_HOSTS=*")
	if code := archive(t, environ, at, "--until-now").Wait(ctx, t); code != 1 {
		t.Errorf("the exit code is %d, where files could not be stored", code)
	}
	check(ctx, t, relay.Broker, at, tasks)
	for _, name := range []string{"rebound.apixo.ai.", "moved.apixo.ai."} {
		if n := names.Asked(name); n < 2 {
			t.Errorf("%s was looked up %d times, so that nothing is shown", name, n)
		}
	}
}

// bad is a task whose one address fails.
func bad(id, address, reason string) task {
	return task{id: id, urls: []string{address}, failures: []failure{{address, reason}}}
}

func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// nameServer answers queries for IPv4 addresses.
type nameServer struct {
	answers map[string][]string

	mu    sync.Mutex
	asked map[string]int
}

// Asked is how often a name's address was asked for.
func (s *nameServer) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name]
}

func (s *nameServer) start(t testing.TB) {
	t.Helper()
	s.asked = make(map[string]int)
	conn, err := net.ListenPacket("udp", loopbackAddr+":53")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, 1<<10)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			if answer, err := s.answer(packet[:n]); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
}

func (s *nameServer) answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil, err
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	question := m.Questions[0]
	name := strings.ToLower(question.Name.String())
	addresses, ok := s.answers[name]
	if !ok {
		m.RCode = dnsmessage.RCodeNameError
	} else if question.Type == dnsmessage.TypeA {
		s.mu.Lock()
		n := min(s.asked[name], len(addresses)-1)
		s.asked[name]++
		s.mu.Unlock()
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(addresses[n]).As4()},
		}}
	}
	return m.Pack()
}
