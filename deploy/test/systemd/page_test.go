package systemd

import (
	"strings"
	"testing"
)

// asks asks the operator's page, with its token, until the answer has a text in it.
func (m machine) asks(t *testing.T, path, text string) {
	t.Helper()
	body := ""
	until(t, path+" has "+text+" in it", func() bool {
		var err error
		body, err = m.run(`curl -sS --fail -H "Authorization: Bearer $(cat /etc/apixo-relay/ui-tokens)" 'http://127.0.0.1:8722` + path + `'`)
		return err == nil && strings.Contains(body, text)
	})
}

// page installs the operator's page, and leaves it there.
func (m machine) page(t *testing.T, steps []string) {
	m.sh(t, "install -D -m 644 strict.conf /etc/systemd/system/apixo-relay-ui.service.d/strict.conf")
	m.sh(t, steps[0])
	m.asks(t, "/tasks/task_of_systemd", "apixo.task.success")
	m.asks(t, "/", "Readiness: the relay at 127.0.0.1:8721 is ready")
	m.asks(t, "/checks", `data-status="ok"`)
	if out, err := m.run("curl -sS --fail http://127.0.0.1:8722/events | grep data-seq"); err == nil {
		t.Errorf("somebody without the token sees\n%s", out)
	}
	if out := m.sh(t, "systemd-analyze verify /etc/systemd/system/apixo-relay-ui.service"); out != "" {
		t.Error(out)
	}
	m.sh(t, "systemd-analyze security --no-pager --threshold="+exposure+" apixo-relay-ui.service")
	pid := m.sh(t, "systemctl show --value --property MainPID apixo-relay-ui")
	status := m.sh(t, "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp|Uid):' /proc/"+pid+"/status | tr -s '\\t' ' '")
	for _, want := range []string{"CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"} {
		if !strings.Contains(status, want) || strings.Contains(status, "Uid: 0 ") {
			t.Errorf("it may more than it needs:\n%s", status)
		}
	}
	if out, err := m.run("setpriv --reuid 65534 --clear-groups sh -c 'cat /etc/apixo-relay/ui-tokens || cat /run/credentials/apixo-relay-ui.service/ui-tokens'"); err == nil || strings.Count(out, "ermission denied") != 2 {
		t.Errorf("somebody else can read: %v\n%s", err, out)
	}

	// What is quarantined is sent again to the relay, by somebody who has signed in.
	m.sh(t, `apixo-relay send failed --task-id task_of_systemd --url http://127.0.0.1:8720/webhook/apixo/`+m.token(t)+`
sequence=$(relay-exec apixo-relay tail --quarantine --reason conflict --from-seq 1 --count 1 --output json 2>/dev/null | grep -o '"sequence":[0-9]*' | head -n 1 | cut -d : -f 2)
curl -sS --fail -o /dev/null -c cookies --data-urlencode token@/etc/apixo-relay/ui-tokens http://127.0.0.1:8722/sign-in
curl -sS --fail -L -b cookies -d seq=$sequence http://127.0.0.1:8722/quarantine/send | grep '^delivered   1'`)
	m.sh(t, "systemctl kill --signal KILL apixo-relay-ui")
	m.asks(t, "/tasks/task_of_systemd", "apixo.task.success")
	if n := m.sh(t, "systemctl show --value --property NRestarts apixo-relay-ui"); n != "1" {
		t.Errorf("it was started again %s times", n)
	}
}

// pageWithBroker gives the page that is there a broker.
func (m machine) pageWithBroker(t *testing.T) {
	t.Helper()
	m.sh(t, `echo another-password-of-the-test >/etc/apixo-relay/ui-password
echo RELAY_STREAM_REPLICAS=1 >>/etc/apixo-relay/apixo-relay-ui.env # for want of a cluster
install -D -m 644 ui-broker.conf /etc/systemd/system/apixo-relay-ui.service.d/ui-broker.conf
systemctl daemon-reload; systemctl restart apixo-relay-ui`)
	m.asks(t, "/events", "task_")
	m.sh(t, "systemctl stop apixo-relay-ui; rm /etc/systemd/system/apixo-relay-ui.service.d/ui-broker.conf /etc/apixo-relay/ui-password; systemctl daemon-reload; systemctl start apixo-relay-ui")
}
