package systemd

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// exposure is the most that 'systemd-analyze security' may find, times ten: 20 is "OK",
// which ordinary services are far from. What it finds is the network.
const exposure = "15"

// strict makes a system call that the unit refuses the relay's end, so that no test
// passes by luck.
const strict = "[Service]\nSystemCallErrorNumber=kill\n"

// The steps of the README, on a machine of its own, one after the other.
func TestService(t *testing.T) {
	t.Parallel()
	need(t)
	m := boot(t)
	m.put(t, relaytest.Build(t, "./cmd/apixo-relay"), "apixo-relay", 0o755)
	for _, name := range []string{"apixo-relay.service", "apixo-relay.env", "relay-exec", "broker.conf", "broker-token.conf", "https.conf", "status-api.conf", "apixo-relay-ui.service", "apixo-relay-ui.env", "ui-broker.conf",
		"apixo-relay-archive.service", "apixo-relay-archive.env", "archive-broker.conf", "archive-s3.conf"} {
		m.put(t, relaytest.Deploy("systemd", name), name, 0o644)
	}
	m.write(t, "strict.conf", strict, 0o644)
	m.sh(t, "install -D -m 644 strict.conf /etc/systemd/system/apixo-relay.service.d/strict.conf")
	steps := readme(t)

	m.sh(t, steps["Install"][0])
	t.Run("what the README shows", func(t *testing.T) {
		out := m.sh(t, steps["Install"][1])
		for _, want := range []string{"active (running)", `"msg":"ready"`, "permissions", "1 delivered, 0 failed"} {
			if !strings.Contains(out, want) {
				t.Errorf("it lacks %q:\n%s", want, out)
			}
		}
	})
	t.Run("analysis", func(t *testing.T) {
		m.verify(t)
		m.sh(t, "systemd-analyze security --no-pager --threshold="+exposure+" apixo-relay.service")
	})
	t.Run("time to end", func(t *testing.T) {
		settings, err := config.Load(nil)
		if err != nil {
			t.Fatal(err)
		}
		told := m.service(t, "TimeoutStopUSec")
		if limit, err := time.ParseDuration(told); err != nil || limit < settings.Webhooks.ShutdownTimeout+5*time.Second {
			t.Errorf("it is killed after %s, and may need %v", told, settings.Webhooks.ShutdownTimeout)
		}
	})
	t.Run("sandbox", func(t *testing.T) { m.expectSandbox(t, "0000000000000000") })
	t.Run("load", func(t *testing.T) {
		m.sh(t, "relay-exec apixo-relay send --count 3000 --concurrency 64")
		m.expectRestarts(t, "0")
	})
	t.Run("a new token", func(t *testing.T) {
		old := m.token(t)
		m.sh(t, steps["A new token"][0])
		m.ready(t)
		m.deliver(t, old, true)
		m.deliver(t, m.token(t), true)
		m.sh(t, steps["A new token"][1])
		m.ready(t)
		m.deliver(t, m.token(t), true)
		m.deliver(t, old, false)
	})
	t.Run("killed", func(t *testing.T) {
		m.sh(t, "systemctl kill --signal KILL apixo-relay")
		until(t, "it is started again", func() bool { return m.service(t, "NRestarts") == "1" })
		m.ready(t)
		if out := m.sh(t, "relay-exec apixo-relay tail --from-seq 1 --until 0s 2>/dev/null | grep -c task_of_systemd"); out != "1" {
			t.Errorf("a task is there %s times", out)
		}
	})
	t.Run("crashed", func(t *testing.T) {
		m.sh(t, "grep -E '^Max core file size +0 +0 ' /proc/"+m.service(t, "MainPID")+"/limits")
		m.sh(t, "systemctl kill --signal QUIT apixo-relay") // goes the way of a panic
		until(t, "it is started again", func() bool { return m.service(t, "NRestarts") == "2" })
		m.ready(t)
		m.sh(t, "journalctl --no-pager -u apixo-relay | grep -F 'SIGQUIT: quit'; journalctl --no-pager -u apixo-relay | grep -F status=6/ABRT")
	})
	t.Run("reloaded", func(t *testing.T) {
		m.sh(t, "systemctl reload apixo-relay")
		until(t, "it reads its files again", func() bool {
			_, err := m.run("journalctl --no-pager -u apixo-relay | grep -F 'reading tokens and certificates again'")
			return err == nil
		})
		m.deliver(t, m.token(t), true)
		m.expectRestarts(t, "2")
	})
	t.Run("ended by hand", func(t *testing.T) {
		m.sh(t, "kill -TERM $(systemctl show --property MainPID --value apixo-relay)")
		until(t, "it is started again", func() bool { return m.service(t, "NRestarts") == "3" })
		m.ready(t)
	})
	t.Run("without a journal", func(t *testing.T) {
		m.sh(t, "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald.service 2>/dev/null || true; ! systemctl is-active --quiet systemd-journald")
		m.sh(t, "relay-exec apixo-relay send --count 200")
		m.expectRestarts(t, "3")
		m.sh(t, "systemctl start systemd-journald.socket systemd-journald.service")
		m.sh(t, "systemctl restart apixo-relay") // which has a broken pipe in the place of the journal
		m.ready(t)
	})
	t.Run("a wrong setting", func(t *testing.T) {
		m.sh(t, "echo RELAY_MAX_IN_FLIGHT=0 >>/etc/apixo-relay/apixo-relay.env; systemctl restart apixo-relay || true")
		until(t, "it stays stopped", func() bool { return m.service(t, "SubState") == "failed" })
		if code := m.service(t, "ExecMainStatus"); code != "2" {
			t.Errorf("exit code %s", code)
		}
		m.sh(t, "journalctl --no-pager -u apixo-relay | grep RELAY_MAX_IN_FLIGHT")
		if out, err := m.run("relay-exec true"); err == nil || !strings.Contains(out, "does not run") {
			t.Errorf("relay-exec without a relay: %v\n%s", err, out)
		}
		m.sh(t, "install -m 600 apixo-relay.env /etc/apixo-relay/; systemctl start apixo-relay")
		m.ready(t)
	})
	t.Run("upgrade", func(t *testing.T) {
		m.sh(t, steps["Upgrade"][0])
		m.deliver(t, m.token(t), true)
	})
	t.Run("consumers on other machines", func(t *testing.T) {
		m.sh(t, "(cat apixo-relay.env; echo RELAY_EMBEDDED_ADDR=:4222) >/etc/apixo-relay/apixo-relay.env")
		m.sh(t, "(umask 077; openssl rand -hex 16 >/etc/apixo-relay/broker-token)")
		defer m.dropIn(t, "broker-token.conf")()
		m.restart(t)
		m.sh(t, "relay-exec apixo-relay check")
		if out, err := m.run("NATS_URL=nats://127.0.0.1:4222 apixo-relay tail --since 1h --count 1"); err == nil || !strings.Contains(out, "does not let this command in") {
			t.Errorf("somebody without the token: %v\n%s", err, out)
		}
		m.sh(t, "NATS_URL=nats://127.0.0.1:4222 NATS_TOKEN_FILE=/etc/apixo-relay/broker-token apixo-relay tail --since 1h --count 1")
		m.sh(t, "ss -Hltn 'sport = :4222' | grep -F '*:4222'; install -m 600 apixo-relay.env /etc/apixo-relay/")
	})
	t.Run("announced tasks", func(t *testing.T) {
		m.sh(t, "(umask 077; echo the-key-of-the-test >/etc/apixo-relay/apixo-api-key)")
		defer m.dropIn(t, "status-api.conf")()
		m.restart(t)
		m.sh(t, `relay-exec sh -c 'test "$(cat $APIXO_API_KEY_FILE)" = the-key-of-the-test'`)
		m.sh(t, `curl -sS --fail -H "Authorization: Bearer $(cat /etc/apixo-relay/tokens)" -H 'Content-Type: application/json' \
  -d '{"taskId":"task_announced","model":"nano-banana"}' http://127.0.0.1:8720/expect | grep '"expected":true'`)
	})
	t.Run("the operator's page", func(t *testing.T) { m.page(t, steps["The operator's page"]) })
	t.Run("the archive", func(t *testing.T) { m.archive(t, steps["The archive"]) })
	t.Run("HTTPS", func(t *testing.T) { m.https(t) })
	t.Run("a broker", func(t *testing.T) { m.broker(t) })
	t.Run("stop", func(t *testing.T) {
		m.sh(t, "systemctl stop apixo-relay")
		if result, code := m.service(t, "Result"), m.service(t, "ExecMainStatus"); result != "success" || code != "0" {
			t.Errorf("result %s, exit code %s", result, code)
		}
	})
	m.sh(t, steps["The operator's page"][1])
	m.sh(t, steps["The archive"][1])
	if out, err := m.run("journalctl --no-pager | grep -E 'status=[0-9]+/SYS|SECCOMP'"); err == nil {
		t.Errorf("the sandbox refused system calls:\n%s", out)
	}
	m.sh(t, steps["Remove"][0])
	if out, err := m.run("ls /etc/apixo-relay /etc/systemd/system/apixo-relay* /usr/local/bin/apixo-relay"); err == nil {
		t.Errorf("what remains:\n%s", out)
	}
	m.sh(t, "test -d /var/lib/private/apixo-relay")
}

var (
	heading = regexp.MustCompile("(?m)^## (.*)$")
	block   = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
)

// readme is the shell scripts in the README, by the heading that they are under.
func readme(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(relaytest.Deploy("systemd", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	steps := make(map[string][]string)
	at := heading.FindAllSubmatchIndex(text, -1)
	for i, h := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		for _, b := range block.FindAllSubmatch(text[h[1]:end], -1) {
			name := string(text[h[2]:h[3]])
			steps[name] = append(steps[name], string(b[1]))
		}
	}
	for name, n := range map[string]int{"Packages": 5, "Install": 2, "A new token": 2, "Upgrade": 1, "The operator's page": 2, "The archive": 2, "Remove": 1} {
		if len(steps[name]) != n {
			t.Fatalf("the README has %d scripts under %q, %d were expected", len(steps[name]), name, n)
		}
	}
	return steps
}

// put copies a file into /srv.
func (m machine) put(t *testing.T, file, name string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, name, string(b), mode)
}

func (m machine) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.files, name), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// ready waits until the relay would accept a webhook.
func (m machine) ready(t *testing.T) {
	t.Helper()
	until(t, "the relay is ready", func() bool {
		_, err := m.run("relay-exec apixo-relay check --probe ready")
		return err == nil
	})
}

// token is the first of the tokens.
func (m machine) token(t *testing.T) string {
	t.Helper()
	return m.sh(t, "cut -d , -f 1 /etc/apixo-relay/tokens")
}

// deliver sends a webhook, always of the same task, and wants it to be taken, or refused.
func (m machine) deliver(t *testing.T, token string, taken bool) {
	t.Helper()
	out, err := m.run("apixo-relay send --task-id task_of_systemd --url http://127.0.0.1:8720/webhook/apixo/" + token)
	if taken != (err == nil) || taken == strings.Contains(out, "401") {
		t.Errorf("taken should be %v: %v\n%s", taken, err, out)
	}
}

// expectRestarts wants that systemd has started it again so many times.
func (m machine) expectRestarts(t *testing.T, want string) {
	t.Helper()
	if n := m.service(t, "NRestarts"); n != want {
		t.Errorf("it was started again %s times, %s were expected", n, want)
	}
}
