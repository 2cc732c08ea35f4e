package cluster

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// rule is a subject that accounts.conf allows a user.
type rule struct{ user, subject string }

var (
	userLine = regexp.MustCompile(`user: (\w+), password:`)
	quoted   = regexp.MustCompile(`"([^"]+)"`)
)

// rulesOf reads what accounts.conf allows.
func rulesOf(t *testing.T, accounts string) (rules []rule) {
	t.Helper()
	user := ""
	for line := range strings.Lines(accounts) {
		line, _, _ = strings.Cut(line, "#")
		if m := userLine.FindStringSubmatch(line); m != nil {
			user = m[1]
		}
		for _, m := range quoted.FindAllStringSubmatch(line, -1) {
			rules = append(rules, rule{user, m[1]})
		}
	}
	if len(rules) == 0 {
		t.Fatal("no rules in accounts.conf")
	}
	return rules
}

// without is accounts.conf with one subject less.
func without(t *testing.T, accounts string, r rule) string {
	t.Helper()
	begin := strings.Index(accounts, "user: "+r.user+", password:")
	if begin < 0 {
		t.Fatalf("there is no user %s", r.user)
	}
	section := accounts[begin:]
	if end := userLine.FindStringIndex(section[1:]); end != nil {
		section = section[:1+end[0]]
	}
	subject := `"` + r.subject + `"`
	if !strings.Contains(section, subject) {
		t.Fatalf("%s is not allowed to %s", subject, r.user)
	}
	// An empty list would allow everything.
	changed := strings.Replace(section, subject, `"nothing"`, 1)
	return accounts[:begin] + changed + accounts[begin+len(section):]
}

var clusterBlock = regexp.MustCompile(`(?m)^cluster \{\n(?:[^}].*\n)*\}\n`)

// alone is the configuration of a server without a cluster.
func alone(t *testing.T, config string) string {
	t.Helper()
	if !clusterBlock.MatchString(config) {
		t.Fatal("the configuration has no cluster")
	}
	return clusterBlock.ReplaceAllString(config, "")
}

// maker may do everything, and is in the tests' configuration only.
const maker = "maker"

// other is a user of another account, which is in the tests' configuration only.
const other = "other"

// forOne is accounts.conf for a single server, whose limits cannot be less than those
// of an account, with a maker and another account.
func forOne(t *testing.T, accounts string) string {
	t.Helper()
	accounts = strings.Replace(accounts, "users: [", "users: [\n{user: "+maker+", password: "+password(maker)+"}", 1)
	return replaced(t, accounts, "max_file: 30GB", "max_file: 10GB",
		"accounts {\n", fmt.Sprintf("accounts {\n  OTHER { jetstream: enabled, users: [{user: %s, password: %s}] }\n", other, password(other)))
}
