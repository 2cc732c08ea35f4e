package systemd

import (
	"regexp"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// expectSandbox wants that the running process may no more than these capabilities.
func (m machine) expectSandbox(t *testing.T, capabilities string) {
	t.Helper()
	pid := m.service(t, "MainPID")
	status := m.sh(t, "cat /proc/"+pid+"/status")
	for field, want := range map[string]string{
		"CapEff": capabilities, "CapPrm": capabilities, "CapBnd": capabilities, "NoNewPrivs": "1", "Seccomp": "2",
	} {
		if !regexp.MustCompile(`(?m)^` + field + `:\s+` + want + `$`).MatchString(status) {
			t.Errorf("%s is not %s:\n%s", field, want, status)
		}
	}
	if regexp.MustCompile(`(?m)^[UG]id:.*\s0\b`).MatchString(status) {
		t.Errorf("it is root:\n%s", status)
	}
	// As its user where it runs: what it wrote is its own, and all else is closed.
	for path, writable := range map[string]bool{
		"/var/lib/apixo-relay": true, "/etc": false, "/usr/local/bin": false, "/var/log": false, "/run": false, "/sys/fs/cgroup": false,
	} {
		if _, err := m.run("relay-exec touch " + path + "/tried && relay-exec rm " + path + "/tried"); writable != (err == nil) {
			t.Errorf("%s: writable should be %v, and writing gave: %v", path, writable, err)
		}
	}
	// As others, its secrets are closed.
	out, err := m.run("setpriv --reuid 65534 --clear-groups sh -c 'cat /etc/apixo-relay/tokens || cat /run/credentials/apixo-relay.service/tokens || ls /var/lib/apixo-relay/'")
	if err == nil || strings.Count(out, "ermission denied") != 3 {
		t.Errorf("somebody else can read: %v\n%s", err, out)
	}
	// Its own are the copies, and not the files that they were made of.
	m.sh(t, "relay-exec sh -c 'cat $RELAY_WEBHOOK_TOKENS_FILE'; ! relay-exec cat /etc/apixo-relay/tokens")
	// A callback URL comes by standard input, and nothing of the shell's own environment with it.
	m.sh(t, "echo http://127.0.0.1:8720/webhook/apixo/$(cat /etc/apixo-relay/tokens) | relay-exec apixo-relay check --url @- | grep '^ok    strangers'")
	m.sh(t, "export OWN=1; relay-exec env | grep -q ^RELAY_WEBHOOK_TOKENS_FILE=; ! relay-exec env | grep ^OWN=")
	// The queue of connections that wait to be accepted is as long as the system allows.
	if queue, most := m.sh(t, "ss -Hltn 'sport = :8720' | awk '{print $3}'"), m.sh(t, "cat /proc/sys/net/core/somaxconn"); queue != most {
		t.Errorf("%s connections may wait to be accepted, the system allows %s", queue, most)
	}
}

// dropIn installs one of the examples, or takes it away.
func (m machine) dropIn(t *testing.T, name string) (remove func()) {
	t.Helper()
	m.sh(t, "install -D -m 644 "+name+" /etc/systemd/system/apixo-relay.service.d/"+name)
	return func() {
		m.sh(t, "rm /etc/systemd/system/apixo-relay.service.d/"+name+"; systemctl daemon-reload; systemctl restart apixo-relay")
		m.ready(t)
	}
}

// verify wants systemd to have nothing to say about the unit and what is added to it.
func (m machine) verify(t *testing.T) {
	t.Helper()
	if out := m.sh(t, "systemd-analyze verify /etc/systemd/system/apixo-relay.service"); out != "" {
		t.Error(out)
	}
}

// restart starts the relay with what has been installed.
func (m machine) restart(t *testing.T) {
	t.Helper()
	m.sh(t, "systemctl daemon-reload; systemctl restart apixo-relay")
	m.verify(t)
	m.ready(t)
}

// certificates makes an authority and a certificate for localhost and the brokers.
func (m machine) certificates(t *testing.T) {
	t.Helper()
	m.sh(t, `test ! -e tls.pem || exit 0
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test -keyout tls-key.pem -out tls.pem \
  -addext subjectAltName=DNS:localhost,DNS:nats-1,DNS:nats-2,DNS:nats-3 -addext basicConstraints=critical,CA:TRUE 2>/dev/null`)
}

// https is the relay with https.conf, on port 443.
func (m machine) https(t *testing.T) {
	m.certificates(t)
	m.sh(t, "install -m 600 tls.pem tls-key.pem /etc/apixo-relay/")
	defer m.dropIn(t, "https.conf")()
	m.restart(t)
	m.sh(t, "apixo-relay send --cacert tls.pem --url https://localhost/webhook/apixo/"+m.token(t))
	if status := m.sh(t, "grep CapEff /proc/"+m.service(t, "MainPID")+"/status"); !strings.HasSuffix(status, "0000000000000400") {
		t.Errorf("it may more than to bind: %s", status)
	}
	m.sh(t, "systemd-analyze security --no-pager --threshold=20 apixo-relay.service")
}

// natsConf is a server with TLS and a password, in the place of the cluster.
const natsConf = `
listen: "127.0.0.1:4222"
jetstream { store_dir: /var/lib/nats, sync_interval: always }
authorization { users: [{user: relay, password: a-password-of-the-test}, {user: ui, password: another-password-of-the-test}, {user: archive, password: a-third-password-of-the-test}] }
tls { cert_file: /srv/tls.pem, key_file: /srv/tls-key.pem }
`

// broker is the relay with broker.conf: TLS, a password, and an outbox while the broker
// is away.
func (m machine) broker(t *testing.T) {
	m.certificates(t)
	m.put(t, relaytest.Build(t, "github.com/nats-io/nats-server/v2"), "nats-server", 0o755)
	m.write(t, "nats.conf", natsConf, 0o644)
	m.sh(t, `echo 127.0.0.1 nats-1 nats-2 nats-3 >>/etc/hosts
echo a-password-of-the-test >/etc/apixo-relay/nats-password
cp tls.pem /etc/apixo-relay/nats-ca.pem
echo RELAY_STREAM_REPLICAS=1 >>/etc/apixo-relay/apixo-relay.env # for want of a cluster`)
	start := "systemd-run --quiet --collect --unit nats /srv/nats-server -c /srv/nats.conf"
	// The embedded broker has the same port.
	m.sh(t, "systemctl stop apixo-relay; "+start)
	remove := m.dropIn(t, "broker.conf")
	defer func() {
		m.sh(t, "systemctl stop nats; install -m 600 apixo-relay.env /etc/apixo-relay/")
		remove()
	}()
	m.restart(t)
	m.sh(t, "relay-exec apixo-relay send --count 1000 --concurrency 64")
	m.pageWithBroker(t)
	m.archiveWithBroker(t)
	m.sh(t, "systemctl stop nats")
	until(t, "the outbox takes over", func() bool {
		_, err := m.run("relay-exec apixo-relay send --count 100 --concurrency 8")
		return err == nil
	})
	if out := m.sh(t, "journalctl --no-pager -u apixo-relay"); !strings.Contains(out, "APIXO_OUTBOX") {
		t.Errorf("nothing went through the outbox:\n%s", out)
	}
	m.sh(t, start)
	until(t, "the outbox is empty", func() bool {
		_, err := m.run("journalctl --no-pager -u apixo-relay | grep 'the outbox is empty'")
		return err == nil
	})
	m.sh(t, "relay-exec apixo-relay check")
}
