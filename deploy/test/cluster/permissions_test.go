package cluster

import (
	"context"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/expected"
)

// What these tests do is to wait for answers that do not come, so that many at once
// take no longer than one.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	built.dir, built.paths = dir, make(map[string]string)
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

const (
	// patience is how long something may take that has to succeed, on a machine that is busy with
	// much else.
	patience = 5 * time.Minute
	// denied is how long something goes on that was denied what it needs.
	denied = 4 * time.Second
)

// one starts a single server with these accounts.
func one(t *testing.T, p *programs, accounts, host string) *bench {
	t.Helper()
	s := newServer(t, p, "nats-1", host, alone(t, shipped(t, "nats-server.conf")), forOne(t, accounts))
	s.start(t)
	return &bench{programs: p, servers: []*server{s}, replicas: 1}
}

// prepare makes the streams and the bucket, and stores something of each kind.
func (b *bench) prepare(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.serveAll(t, ctx, maker); err != nil {
		t.Fatal(err)
	}
	_, js := b.connect(t, maker)
	cfg, err := config.Load([]string{"NATS_URL=nats://unused"})
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(ctx, expected.DesiredBucket(cfg))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(ctx, b.task(), `{"model":"nano-banana"}`); err != nil {
		t.Fatal(err)
	}
}

// Each subject that is allowed is needed by something, and what needs it cannot be done
// without it.
func TestNothingMoreIsAllowed(t *testing.T) {
	t.Parallel()
	accounts := allUsers(t)
	rules := rulesOf(t, accounts)
	missing := make(map[rule]deed) // a deed that needs it
	var needed []rule
	for _, d := range deeds {
		for _, subject := range d.needs {
			r := rule{d.user, subject}
			if _, ok := missing[r]; !ok {
				needed = append(needed, r)
				missing[r] = d
			}
			if !slices.Contains(rules, r) {
				t.Errorf("%s: %s needs %s, which is not allowed", d.user, d.name, subject)
			}
		}
	}
	for _, r := range rules {
		if _, ok := missing[r]; !ok {
			t.Errorf("%s may use %s, and nothing needs it", r.user, r.subject)
		}
	}
	p := newPrograms(t, len(needed))
	for _, r := range needed {
		host := p.host()
		t.Run(r.user+" "+r.subject, func(t *testing.T) {
			t.Parallel()
			b, d := one(t, p, without(t, accounts, r), host), missing[r]
			if !d.new {
				b.prepare(t)
			}
			literal := strings.TrimRight(r.subject, ".>*")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			go func() {
				if b.servers[0].denies(ctx, literal) {
					time.AfterFunc(denied, cancel)
				}
			}()
			if err := d.do(t, ctx, b); err == nil {
				t.Errorf("it is not needed: %q goes without it", d.name)
			}
			if lines := b.violations(t); len(of(lines, literal)) == 0 {
				t.Errorf("%q failed for another cause: the server logged no violation about %s, but\n%s", d.name, r.subject, strings.Join(lines, ""))
			}
		})
	}
}

// triedOnce is what a user tries though it may not: the page's checks find out by it that the
// page is not the relay's user, of whom more is to be tried.
var triedOnce = map[string]string{"ui": "apixo.task.success"}

// Each deed is done with what is allowed, and without a try at anything else.
func TestEverythingIsAllowed(t *testing.T) {
	t.Parallel()
	p := newPrograms(t, len(deeds))
	for _, d := range deeds {
		host := p.host()
		t.Run(d.user+" "+d.name, func(t *testing.T) {
			t.Parallel()
			b := one(t, p, allUsers(t), host)
			if !d.new {
				b.prepare(t)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := d.do(t, ctx, b); err != nil {
				t.Error(err)
			}
			for _, line := range b.violations(t) {
				if tried := triedOnce[d.user]; tried == "" || !strings.Contains(line, `"`+tried+`"`) {
					t.Error(line)
				}
			}
		})
	}
}
