package systemd

import (
	"fmt"
	"strings"
	"testing"
)

// result sends a webhook whose result has one address: that of the relay's own word on its
// health, which is a file like any other.
func (m machine) result(t *testing.T, task string) {
	t.Helper()
	m.write(t, "result.json", fmt.Sprintf(`{"code":200,"data":{"taskId":%q,"state":"success","resultJson":"{\"resultUrls\":[\"http://127.0.0.1:8721/healthz\"]}"}}`, task), 0o644)
	m.sh(t, `curl -sS --fail -H 'Content-Type: application/json' -d @result.json http://127.0.0.1:8720/webhook/apixo/`+m.token(t))
}

// archive installs the archive, and leaves it there.
func (m machine) archive(t *testing.T, steps []string) {
	m.sh(t, "install -D -m 644 strict.conf /etc/systemd/system/apixo-relay-archive.service.d/strict.conf")
	m.sh(t, "echo RELAY_ARCHIVE_HOSTS=http://127.0.0.1:8721 >>apixo-relay-archive.env")
	m.sh(t, steps[0])
	m.result(t, "task_of_files")
	until(t, "the file is archived", func() bool {
		out, err := m.run("cat /var/lib/apixo-relay-archive/task_of_files/01-healthz")
		return err == nil && strings.Contains(out, `"status":"ok"`)
	})
	until(t, "it is told", func() bool {
		_, err := m.run("relay-exec apixo-relay check | grep -E '^ok +archive +the files of all results are archived'")
		return err == nil
	})
	m.sh(t, "curl -sS --fail http://127.0.0.1:8723/metrics | grep '^apixo_relay_archived_files_total 1$'")
	if out := m.sh(t, "systemd-analyze verify /etc/systemd/system/apixo-relay-archive.service"); out != "" {
		t.Error(out)
	}
	m.sh(t, "systemd-analyze security --no-pager --threshold="+exposure+" apixo-relay-archive.service")
	pid := m.sh(t, "systemctl show --value --property MainPID apixo-relay-archive")
	status := m.sh(t, "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp|Uid):' /proc/"+pid+"/status | tr -s '\\t' ' '")
	for _, want := range []string{"CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"} {
		if !strings.Contains(status, want) || strings.Contains(status, "Uid: 0 ") {
			t.Errorf("it may more than it needs:\n%s", status)
		}
	}
	if out, err := m.run("setpriv --reuid 65534 --clear-groups ls /var/lib/apixo-relay-archive/"); err == nil || !strings.Contains(out, "ermission denied") {
		t.Errorf("somebody else can read: %v\n%s", err, out)
	}
	m.sh(t, "systemctl kill --signal KILL apixo-relay-archive")
	m.result(t, "task_after_a_kill")
	until(t, "it goes on", func() bool {
		_, err := m.run("cat /var/lib/apixo-relay-archive/task_after_a_kill/01-healthz")
		return err == nil
	})
}

// archiveWithBroker gives the archive that is there a broker.
func (m machine) archiveWithBroker(t *testing.T) {
	t.Helper()
	m.sh(t, `echo a-third-password-of-the-test >/etc/apixo-relay/archive-password
echo RELAY_STREAM_REPLICAS=1 >>/etc/apixo-relay/apixo-relay-archive.env # for want of a cluster
echo ARCHIVE_TO=nats:APIXO_FILES >>/etc/apixo-relay/apixo-relay-archive.env
install -D -m 644 archive-broker.conf /etc/systemd/system/apixo-relay-archive.service.d/archive-broker.conf
systemctl daemon-reload; systemctl restart apixo-relay-archive`)
	m.result(t, "task_of_a_broker")
	until(t, "the file is archived", func() bool {
		_, err := m.run("curl -sS --fail http://127.0.0.1:8723/metrics | grep '^apixo_relay_archived_files_total 1$'")
		return err == nil
	})
	m.sh(t, "systemctl stop apixo-relay-archive; rm /etc/systemd/system/apixo-relay-archive.service.d/archive-broker.conf /etc/apixo-relay/archive-password; systemctl daemon-reload")
}
