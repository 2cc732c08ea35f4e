package publisher_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// acrossAccounts is a relay whose streams are in another account than its user. It can
// ask of JetStream what is imported from there.
func acrossAccounts(t *testing.T, imports ...string) bench {
	t.Helper()
	imported := []string{`{service: {account: STREAMS, subject: "apixo.>"}}`}
	for _, subject := range imports {
		imported = append(imported, fmt.Sprintf("{service: {account: STREAMS, subject: %q}, to: %q}", "$JS.API."+subject, "$JS.streams.API."+subject))
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	text := fmt.Sprintf(`listen: "127.0.0.1:-1"
jetstream { store_dir: %q }
accounts {
  STREAMS { jetstream: enabled, users: [{user: admin, password: admin}], exports: [{service: "$JS.API.>"}, {service: "apixo.>"}] }
  RELAY { users: [{user: relay, password: relay}], imports: [%s] }
}
`, t.TempDir(), strings.Join(imported, ", "))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	options.NoLog, options.NoSigs = true, true
	s := natstest.Start(t, options)
	b := open(t, s, "NATS_USER=relay", "NATS_PASSWORD=relay", "NATS_JS_DOMAIN=streams")
	b.js = natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
	b.awaitConnection(t)
	return b
}

// Where nobody hears the question what is stored, that may be so for a moment only: it is
// asked twice before repeats are taken for plain duplicates.
func TestNobodyIsThereToRead(t *testing.T) {
	t.Parallel()
	b := acrossAccounts(t, "STREAM.INFO.*", "STREAM.CREATE.*")
	for i, want := range []bool{false, true, true} {
		if err := b.Look(t.Context()); (err != nil) != want {
			t.Errorf("after look %d: %v", i+1, err)
		}
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	b.mustStore(t, result("task_1", "success", `{"a":1}`), first)
	b.mustStore(t, result("task_1", "failed", ""), duplicate(false))
	if n := strings.Count(b.log.String(), "repeats are taken for plain duplicates"); n != 1 {
		t.Errorf("the log says so %d times:\n%s", n, b.log)
	}
}

// With the leader's word from another account contradictions are known.
func TestStreamsInAnotherAccount(t *testing.T) {
	t.Parallel()
	b := acrossAccounts(t, "STREAM.INFO.*", "STREAM.CREATE.*", "STREAM.MSG.GET.APIXO")
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	b.mustStore(t, result("task_1", "success", `{"a":1}`), first)
	b.mustStore(t, result("task_1", "failed", ""), duplicate(true))
	b.remove(t, 1)
	b.mustStore(t, result("task_1", "failed", ""), at(2))
}
