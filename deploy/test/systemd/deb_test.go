package systemd

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// own is a setting that somebody adds to those of a package.
const own = "RELAY_MAX_IN_FLIGHT=77"

// TestPackages installs, upgrades and removes the packages on a machine of their own, with
// webhooks in between.
func TestPackages(t *testing.T) {
	t.Parallel()
	need(t, "dpkg", "apt-get", "rpm")
	if runtime.GOARCH != "amd64" {
		t.Skip("the README's commands name packages for amd64")
	}
	p := newPackager(t)
	first, second := p.build(t, "1.0.0"), p.build(t, "1.0.1")
	m := boot(t)
	changed := func(name string) string { return p.changed(t, name) }
	for _, dir := range []string{
		p.pack(t, "1.0.0", first, nil, "deb", "rpm"),
		// The next version has changed settings that nobody else has; the one after it others,
		// which somebody has changed.
		p.pack(t, "1.0.1", second, map[string]string{"deploy/systemd/apixo-relay-ui.env": changed("apixo-relay-ui.env")}, "deb", "rpm"),
		p.pack(t, "1.0.2", second, map[string]string{
			"deploy/systemd/apixo-relay-ui.env": changed("apixo-relay-ui.env"), "deploy/systemd/apixo-relay.env": changed("apixo-relay.env"),
		}, "deb", "rpm"),
	} {
		names, err := filepath.Glob(dir + "/*")
		if err != nil || len(names) != 2 {
			t.Fatalf("%v: %v", names, err)
		}
		for _, name := range names {
			m.put(t, name, filepath.Base(name), 0o644)
		}
	}
	steps := readme(t)["Packages"]
	// Nobody is there to answer apt, and nothing to load from. dpkg, which it calls, is quicker.
	m.sh(t, `mkdir -p /etc/apt/apt.conf.d
echo 'APT::Get::Assume-Yes "true"; APT::Install-Recommends "false";' >/etc/apt/apt.conf.d/99test
rm -f /usr/sbin/policy-rc.d /var/lib/man-db/auto-update`) // which takes its time for all man pages

	t.Run("deb", func(t *testing.T) { m.deb(t, steps) })
	if !t.Failed() {
		t.Run("rpm", func(t *testing.T) { m.rpm(t, steps) })
	}
}

// changed is a file of deploy/systemd as a later version may have it.
func (p *packager) changed(t *testing.T, name string) (file string) {
	t.Helper()
	text, err := os.ReadFile(relaytest.Deploy("systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, append(text, "# news\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (m machine) deb(t *testing.T, steps []string) {
	out := m.sh(t, steps[0])
	for _, want := range []string{"permissions", "1 delivered, 0 failed"} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	m.expectUnits(t, "enabled active", "disabled inactive", "disabled inactive")
	m.installed(t, "v1.0.0")
	m.sh(t, "test -z \"$(dpkg --verify apixo-relay)\"")
	token := m.token(t)

	m.sh(t, steps[2])
	m.asks(t, "/tasks/task_of_systemd", "apixo.task.success")
	m.expectUnits(t, "enabled active", "enabled active", "enabled active")

	// Installed once more, with settings of one's own, and something stopped for good.
	m.sh(t, "echo "+own+" >>/etc/apixo-relay/apixo-relay.env; systemctl disable --now apixo-relay-archive 2>/dev/null")
	m.sh(t, "dpkg --install apixo-relay_1.0.0_amd64.deb")
	m.later(t, token, "v1.0.0", own)
	m.expectUnits(t, "enabled active", "enabled active", "disabled inactive")

	page := m.sh(t, "systemctl show --value --property MainPID apixo-relay-ui")
	m.sh(t, "dpkg --install apixo-relay_1.0.1_amd64.deb")
	m.later(t, token, "v1.0.1", own)
	m.sh(t, "grep -q news /etc/apixo-relay/apixo-relay-ui.env")
	m.not(t, "grep news /etc/apixo-relay/apixo-relay.env")
	m.expectUnits(t, "enabled active", "enabled active", "disabled inactive")
	if now := m.sh(t, "systemctl show --value --property MainPID apixo-relay-ui"); now == page {
		t.Error("the page was not started anew")
	}

	// Both have changed the settings: dpkg asks, and was told.
	m.sh(t, "systemctl disable --now apixo-relay apixo-relay-ui 2>/dev/null")
	m.sh(t, "dpkg --force-confold --install apixo-relay_1.0.2_amd64.deb")
	m.expectUnits(t, "disabled inactive", "disabled inactive", "disabled inactive")
	m.sh(t, "grep -q news /etc/apixo-relay/apixo-relay.env.dpkg-dist; systemctl enable --now apixo-relay apixo-relay-ui 2>/dev/null")
	m.later(t, token, "v1.0.1", own)

	// And back.
	m.sh(t, "dpkg --force-confold --install apixo-relay_1.0.0_amd64.deb")
	m.later(t, token, "v1.0.0", own)

	m.sh(t, "dpkg --remove apixo-relay")
	m.stopped(t)
	m.sh(t, "grep -qx "+own+" /etc/apixo-relay/apixo-relay.env; test -d /var/lib/private/apixo-relay; test -d /var/lib/private/apixo-relay-archive")
	m.sh(t, "dpkg --force-confold --install apixo-relay_1.0.0_amd64.deb")
	m.later(t, token, "v1.0.0", own)
	m.expectUnits(t, "enabled active", "enabled active", "disabled inactive")

	m.sh(t, "apt-get purge apixo-relay")
	m.gone(t)

	// The relay was installed by hand, and then comes the package.
	m.put(t, m.program(t), "apixo-relay", 0o755)
	for _, name := range []string{"apixo-relay.service", "apixo-relay.env", "relay-exec"} {
		m.put(t, relaytest.Deploy("systemd", name), name, 0o644)
	}
	m.sh(t, readme(t)["Install"][0])
	m.ready(t)
	token = m.token(t)
	m.deliver(t, token, true)
	out = m.sh(t, "dpkg --install apixo-relay_1.0.1_amd64.deb")
	for _, want := range []string{"/etc/systemd/system/apixo-relay.service, installed by hand", "/usr/local/bin/apixo-relay, installed by hand"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if path := m.service(t, "FragmentPath"); path != "/etc/systemd/system/apixo-relay.service" {
		t.Errorf("the unit is %s", path)
	}
	m.sh(t, steps[4])
	m.later(t, token, "v1.0.1", "")
	m.sh(t, "dpkg --purge apixo-relay")
	m.gone(t)
}

// program is the program of the first package, out of which nobody has removed it.
func (m machine) program(t *testing.T) string {
	t.Helper()
	m.sh(t, "dpkg-deb --extract apixo-relay_1.0.0_amd64.deb extracted")
	return filepath.Join(m.files, "extracted/usr/bin/apixo-relay")
}

// expectUnits wants the relay, the page and the archive to be so.
func (m machine) expectUnits(t *testing.T, want ...string) {
	t.Helper()
	for i, unit := range []string{"apixo-relay", "apixo-relay-ui", "apixo-relay-archive"} {
		if is := m.sh(t, "echo $(systemctl is-enabled "+unit+" || true) $(systemctl is-active "+unit+" || true)"); is != want[i] {
			t.Errorf("%s is %s, %s was expected", unit, is, want[i])
		}
	}
}

// installed wants what a package brings to be usable, and delivers a webhook.
func (m machine) installed(t *testing.T, version string) {
	t.Helper()
	if path := m.service(t, "FragmentPath"); path != "/usr/lib/systemd/system/apixo-relay.service" && path != "/lib/systemd/system/apixo-relay.service" {
		t.Errorf("the unit is %s", path)
	}
	for script, want := range map[string]string{
		"apixo-relay version | cut -d ' ' -f 1-2 | head -n 1":                           "apixo-relay " + version,
		"readlink /proc/" + m.service(t, "MainPID") + "/exe":                            "/usr/bin/apixo-relay",
		"stat -c '%a %U %s' /etc/apixo-relay/tokens":                                    "600 root 33",
		"stat -c '%a %U %s' /etc/apixo-relay/ui-tokens":                                 "600 root 33",
		"stat -c '%a %U' /etc/apixo-relay":                                              "700 root",
		"stat -c '%a %U' /etc/apixo-relay/apixo-relay.env":                              "600 root",
		"systemd-analyze verify apixo-relay{,-ui,-archive}.service 2>&1":                "",
		". /usr/share/bash-completion/completions/apixo-relay; complete -p apixo-relay": "complete -o default -F __start_apixo-relay apixo-relay",
		"gzip -dc /usr/share/man/man1/apixo-relay-send.1.gz | grep -c '^.SH EXAMPLE'":   "1",
	} {
		if out := m.sh(t, script); out != want {
			t.Errorf("%s: %q, %q was expected", script, out, want)
		}
	}
	m.ready(t)
	m.deliver(t, m.token(t), true)
}

// later wants the relay to run in a version and with a setting, to know the token that it had,
// and to have, once, the webhook that it was sent before.
func (m machine) later(t *testing.T, token, version, setting string) {
	t.Helper()
	m.ready(t)
	m.deliver(t, token, true)
	if out := m.sh(t, "relay-exec apixo-relay tail --from-seq 1 --until 0s 2>/dev/null | grep -c task_of_systemd"); out != "1" {
		t.Errorf("the task is there %s times", out)
	}
	if metrics := m.sh(t, "curl -sS --fail http://127.0.0.1:8721/metrics"); !strings.Contains(metrics, `version="`+version+`"`) {
		t.Errorf("what runs is not %s", version)
	}
	if out := m.sh(t, "relay-exec env | grep RELAY_MAX_IN_FLIGHT || true"); out != setting {
		t.Errorf("it runs with %q, %q was expected", out, setting)
	}
}

// gone wants nothing to be left of the package, by whatever name.
func (m machine) gone(t *testing.T) {
	t.Helper()
	m.stopped(t)
	if out := m.sh(t, "find /etc /usr /var /opt /run -xdev '(' -name '*apixo-relay*' -o -name 'relay-exec*' ')' -print"); out != "" {
		t.Errorf("what remains:\n%s", out)
	}
}

// stopped wants the programs to be gone, and none of them to run.
func (m machine) stopped(t *testing.T) {
	t.Helper()
	m.not(t, "command -v apixo-relay relay-exec")
	m.not(t, "cat /proc/[0-9]*/comm 2>/dev/null | grep -x apixo-relay")
}

// not wants a script to fail.
func (m machine) not(t *testing.T, script string) {
	t.Helper()
	if out, err := m.run(script); err == nil {
		t.Errorf("%s\n%s", script, out)
	}
}
