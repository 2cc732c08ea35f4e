package faults

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// rotationRows are secrets that are changed while the relay runs.
var rotationRows = []Row{
	{
		Name: "rotated", Fault: "tokens, certificate, key and client authorities are rotated",
		Injected: "all of them replaced file by file (rename), then in one swap of a symbolic link as Kubernetes does, first with the old ones beside the new, then without, under connections that are kept (HTTP/2 and HTTP/1.1) and others made for each webhook",
		run:      rotated,
	},
}

// takenUp is how soon a changed file has to be in force: the relay looks every
// second, and the machine may be busy.
const takenUp = 5 * time.Second

func rotated(t *trial) {
	n := t.times(2, 20)
	var slowestNew, slowestOld time.Duration
	for i, replace := range []func(dir string, version int, files map[string][]byte) error{renamed, swapped} {
		dir, err := t.NewFolder("secrets")
		t.must(err)
		server, err := rig.NewAuthority("servers")
		t.must(err)
		r := &rotation{trial: t, server: server, replace: func(version int, files map[string][]byte) error { return replace(dir, version, files) }}
		r.next = r.generation(1)
		r.write(r.next)
		r.relay = t.embedded("RELAY_WEBHOOK_TOKENS_FILE="+filepath.Join(dir, "tokens"),
			"RELAY_TLS_CERT_FILE="+filepath.Join(dir, "tls.crt"), "RELAY_TLS_KEY_FILE="+filepath.Join(dir, "tls.key"), "RELAY_TLS_CLIENT_CA_FILE="+filepath.Join(dir, "ca.crt"))
		r.start()
		for version := 2; version < 2+n/2; version++ {
			t.round(i*n/2+version-2, n)
			r.rotate(version)
		}
		r.stop()
		t.audit(r.relay.Broker)
		t.rounds = nil // which are in the stream of this relay
		r.relay.Kill()
		slowestNew, slowestOld = max(slowestNew, r.slowestNew), max(slowestOld, r.slowestOld)
	}
	t.note("new secrets were in force after %.1f s, and old ones no longer after %.1f s, at the latest", slowestNew.Seconds(), slowestOld.Seconds())
}

// generation is what is valid together.
type generation struct {
	number     int
	token      string
	clients    *rig.Authority
	chain, key []byte
	config     *tls.Config // of a client with a certificate of this generation
	kept       *rig.Sender // on connections that are kept
	each       *rig.Sender // on one of its own for each webhook
	loads      []*rig.Load
}

// rotation is a relay whose secrets are changed.
type rotation struct {
	*trial
	relay   *rig.Relay
	server  *rig.Authority
	next    *generation
	retired []*generation
	writes  int
	replace func(version int, files map[string][]byte) error
	// slowestNew and slowestOld are how long it took until new secrets were in
	// force, and until old ones were no longer.
	slowestNew, slowestOld time.Duration
}

// generation makes the secrets with a number.
func (r *rotation) generation(number int) *generation {
	g := &generation{number: number, token: fmt.Sprintf("token-%016x-%d", r.rand.Uint64(), number)}
	var err error
	g.clients, err = rig.NewAuthority(fmt.Sprintf("clients %d", number))
	r.must(err)
	g.chain, g.key, err = r.server.Issue(int64(number))
	r.must(err)
	g.config, err = r.server.Client(g.clients, int64(number))
	r.must(err)
	return g
}

// write puts the secrets of generations in place, the certificate being that of
// the last one.
func (r *rotation) write(all ...*generation) {
	last := all[len(all)-1]
	files := map[string][]byte{"tls.crt": last.chain, "tls.key": last.key}
	for i, g := range all {
		if i > 0 {
			files["tokens"] = append(files["tokens"], ',')
		}
		files["tokens"] = append(files["tokens"], g.token...)
		files["ca.crt"] = append(files["ca.crt"], g.clients.PEM...)
	}
	r.writes++
	r.must(r.replace(r.writes, files))
}

// renamed replaces one file after the other, each at once.
func renamed(dir string, _ int, files map[string][]byte) error {
	for _, name := range []string{"ca.crt", "tls.crt", "tls.key", "tokens"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file+".new", files[name], 0o600); err != nil {
			return err
		}
		if err := os.Rename(file+".new", file); err != nil {
			return err
		}
	}
	return nil
}

// swapped replaces all files at once, as a mounted secret of Kubernetes is: they
// are links through one link to a folder.
func swapped(dir string, version int, files map[string][]byte) error {
	data := fmt.Sprintf("..version-%d", version)
	if err := os.Mkdir(filepath.Join(dir, data), 0o700); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, data, name), text, 0o600); err != nil {
			return err
		}
		if version == 1 {
			if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	link := filepath.Join(dir, "..data")
	if err := os.Symlink(data, link+".new"); err != nil {
		return err
	}
	if err := os.Rename(link+".new", link); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..version-%d", version-1)))
}

// start lets senders use the generation that is now valid.
func (r *rotation) start() {
	g := r.next
	keep := &http.Transport{TLSClientConfig: g.config.Clone(), ForceAttemptHTTP2: g.number%2 == 0}
	g.kept = r.NewSenderOver(r.relay.URL(), keep).Vary(inPath(g.token))
	g.each = r.NewSenderOver(r.relay.URL(), &http.Transport{TLSClientConfig: g.config.Clone(), DisableKeepAlives: true}).Vary(asBearer(g.token))
	r.must(r.awaits(g.each, g.number, http.StatusOK, &r.slowestNew))
	// Few, or making connections would be all that this machine does.
	g.loads = []*rig.Load{
		g.kept.StartLoad(r.ctx, fmt.Sprintf("kept_%d", g.number), rig.Pace{Workers: 8}),
		g.each.StartLoad(r.ctx, fmt.Sprintf("each_%d", g.number), rig.Pace{Workers: 2}),
	}
	for _, load := range g.loads {
		r.goesOn(load, 10)
	}
}

// stop ends the senders of the generation that is now valid.
func (r *rotation) stop() {
	for _, load := range r.next.loads {
		r.goesOn(load, 1)
		o := load.Stop()
		r.count(o)
		r.only(o)
		r.within(o, 20*time.Second)
	}
}

// rotate brings the next generation into force while the last one is in use, and
// then ends that.
func (r *rotation) rotate(version int) {
	old := r.next
	next := r.generation(version)
	r.write(old, next)
	r.next = next
	r.start()
	r.showsCertificate(next)
	r.next = old
	r.stop()
	r.next = next
	r.write(next)
	// By token alone, with a certificate that is valid.
	r.must(r.awaits(r.with(next, old.token), version, http.StatusUnauthorized, &r.slowestOld))
	r.awaitsRefused(old)
	r.retired = append(r.retired, old)
	for i, g := range r.retired[max(0, len(r.retired)-5):] {
		for j := range 4 {
			a, err := r.with(next, g.token).Post(r.ctx, fmt.Sprintf("retired_%d_%d_%d", version, i, j), "success")
			if err != nil || a.Status != http.StatusUnauthorized {
				r.fail("a token that is no longer valid got %+v, %v", a, err)
			}
		}
		if r.admits(g) == nil {
			r.fail("a client's certificate from an authority that is no longer trusted was accepted")
		}
	}
	r.showsCertificate(next)
	for _, load := range next.loads {
		r.goesOn(load, 20)
	}
}

// with sends with the certificate of one generation and the token of another.
func (r *rotation) with(g *generation, token string) *rig.Sender {
	return r.NewSenderOver(r.relay.URL(), &http.Transport{TLSClientConfig: g.config.Clone(), DisableKeepAlives: true}).Vary(asBasic(token))
}

// awaits waits until a sender gets an answer, and notes how long that took. Until
// the relay has looked at the files, it may get another, or no connection.
func (r *rotation) awaits(s *rig.Sender, version, status int, slowest *time.Duration) error {
	start := time.Now()
	for i := 0; ; i++ {
		a, err := s.Post(r.ctx, fmt.Sprintf("probe_%d_%d_%d", version, status, i), "success")
		took := time.Since(start)
		if err == nil && a.Status == status {
			*slowest = max(*slowest, took)
			return nil
		}
		if took > takenUp {
			return fmt.Errorf("%s after the files were changed, %d is due and %+v came: %w", took, status, a, err)
		}
		r.sleep(20 * time.Millisecond)
	}
}

// awaitsRefused waits until no connection is made with a client's certificate.
func (r *rotation) awaitsRefused(g *generation) {
	for start := time.Now(); r.admits(g) == nil; r.sleep(20 * time.Millisecond) {
		if took := time.Since(start); took > takenUp {
			r.fail("%s after its authority was taken away, a client's certificate is still accepted", took)
			return
		}
	}
}

// admits is nil if a connection is made with the certificate of a generation.
func (r *rotation) admits(g *generation) error {
	conn, err := (&tls.Dialer{Config: g.config}).DialContext(r.ctx, "tcp", r.relay.Addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(takenUp)); err != nil {
		return err
	}
	// Only the first reading tells whether the server takes the certificate.
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// showsCertificate checks that new connections see a generation's certificate.
func (r *rotation) showsCertificate(g *generation) {
	start := time.Now()
	for right := 0; right < 5; {
		conn, err := (&tls.Dialer{Config: g.config}).DialContext(r.ctx, "tcp", r.relay.Addr())
		r.must(err)
		serial := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		r.must(conn.Close())
		switch took := time.Since(start); {
		case serial == int64(g.number):
			right++
		case right > 0 || took > takenUp:
			r.fail("%s after it was replaced, a connection sees certificate %d, and %d is due", took, serial, g.number)
			return
		default:
			r.sleep(20 * time.Millisecond)
		}
	}
}
