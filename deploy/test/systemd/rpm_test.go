package systemd

import (
	"strings"
	"testing"
)

// rpmCommand stands for dnf: on Debian, whose files are not in RPM's database, it takes what is
// needed for granted.
const rpmCommand = "rpm --force-debian --nodeps --dbpath /var/lib/rpm "

func (m machine) rpm(t *testing.T, steps []string) {
	// As distributions with RPM have it.
	m.sh(t, "mkdir -p /etc/systemd/system-preset; echo 'disable *' >/etc/systemd/system-preset/00-test.preset")
	install := strings.SplitN(steps[1], "\n", 2)
	m.sh(t, strings.Replace(install[0], "dnf install", rpmCommand+"--install", 1))
	m.expectUnits(t, "disabled inactive", "disabled inactive", "disabled inactive")
	m.sh(t, install[1])
	m.ready(t)
	m.expectUnits(t, "enabled active", "disabled inactive", "disabled inactive")
	m.installed(t, "v1.0.0")
	if out := m.sh(t, rpmCommand+"--verify apixo-relay"); out != "" {
		t.Errorf("what is installed differs from the package:\n%s", out)
	}
	token := m.token(t)

	m.sh(t, steps[2]+"echo "+own+" >>/etc/apixo-relay/apixo-relay.env; systemctl stop apixo-relay-archive")
	m.sh(t, rpmCommand+"--upgrade apixo-relay-1.0.1-1.x86_64.rpm")
	m.later(t, token, "v1.0.1", own)
	m.sh(t, "grep -q news /etc/apixo-relay/apixo-relay-ui.env")
	m.not(t, "grep news /etc/apixo-relay/apixo-relay.env")
	m.expectUnits(t, "enabled active", "enabled active", "enabled inactive")

	m.sh(t, rpmCommand+"--upgrade apixo-relay-1.0.2-1.x86_64.rpm; grep -q news /etc/apixo-relay/apixo-relay.env.rpmnew")
	m.later(t, token, "v1.0.1", own)

	m.sh(t, rpmCommand+"--erase apixo-relay")
	m.stopped(t)
	m.not(t, "ls /etc/systemd/system/multi-user.target.wants/apixo-relay*")
	m.sh(t, "grep -qx "+own+" /etc/apixo-relay/apixo-relay.env.rpmsave; test -d /var/lib/private/apixo-relay; test -e /etc/apixo-relay/tokens")
	m.sh(t, rpmCommand+"--install apixo-relay-1.0.1-1.x86_64.rpm; mv /etc/apixo-relay/apixo-relay.env.rpmsave /etc/apixo-relay/apixo-relay.env; systemctl enable --now apixo-relay")
	m.later(t, token, "v1.0.1", own)

	m.sh(t, rpmCommand+"--erase apixo-relay; "+steps[3])
	m.gone(t)
}
