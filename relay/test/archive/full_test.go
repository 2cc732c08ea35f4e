package archive

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// A target that cannot store is waited for: nothing is acknowledged meanwhile, nothing is told,
// the log says it once a minute, and when it can again all goes on by itself.
func TestTargetThatCannotStoreIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T, *rig.Relay) hindered{
		"file": fullDisk, "nats": fullObjectStore, "s3": awayS3,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := limited(t)
			relay, o := startRelay(ctx, t), startOrigin(t)
			h := start(t, relay)
			addr, err := newRig(t, nil).UnusedAddr()
			if err != nil {
				t.Fatal(err)
			}
			admin := "http://" + addr
			c := archive(t, settings(relay, o, "RELAY_ARCHIVE_ADMIN_ADDR="+addr), h.at, h.args...)
			await(t, "it does not become ready", func() bool { return ask(admin+"/readyz") == 200 })
			h.hinder()
			var tasks []task
			for i := range 4 {
				tasks = append(tasks, good(fmt.Sprintf("task_%d", i), fmt.Sprintf("%s/ok/file-%d.png", o.URL, 800_000+i)))
			}
			deliver(ctx, t, relay, tasks...)
			await(t, "it does not tell that it cannot store", func() bool {
				m := metrics(t, admin)
				return m["archive_target_up"] == 0 && m["archive_failures_total{target}"] >= 3
			})
			await(t, "what is not stored does not wait", func() bool {
				m := metrics(t, admin)
				return m["archived_files_total"]+m["archive_backlog_events"] == 4 && m["archive_backlog_events"] > 0
			})
			if n := c.Complaints(); n != 1 {
				t.Errorf("the log has %d lines of it, and should have one a minute", n)
			}
			h.help()
			await(t, "it does not go on", func() bool {
				m := metrics(t, admin)
				return m["archived_files_total"] == 4 && m["archive_target_up"] == 1 && m["archive_backlog_events"] == 0
			})
			if code := c.Stop(ctx, t); code != 0 {
				t.Errorf("it ended with %d", code)
			}
			clean(ctx, t, relay.Broker, h.at)
			check(ctx, t, relay.Broker, h.at, tasks)
		})
	}
}

// hindered is a place in which not everything can be stored after hinder, and before help.
type hindered struct {
	at           place
	args         []string
	hinder, help func()
}

// fullDisk is a small disk that another program fills.
func fullDisk(t *testing.T, _ *rig.Relay) hindered {
	t.Helper()
	disk, err := newRig(t, nil).NewDisk(16 << 20)
	if err != nil {
		t.Skipf("this user may make no small disk: %v", err)
	}
	filler := filepath.Join(disk, "filler")
	return hindered{
		at: &folder{dir: filepath.Join(disk, "files")},
		hinder: func() {
			if err := rig.FillDisk(filler, 1<<20); err != nil {
				t.Fatal(err)
			}
		},
		help: func() {
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// fullObjectStore is one that has no room for all, until it may be larger.
func fullObjectStore(t *testing.T, relay *rig.Relay) hindered {
	t.Helper()
	js := natstest.JetStream(t, relay.Broker, nats.MaxReconnects(-1))
	at := newObjectStore(t, relay.Broker)
	return hindered{
		at: at, args: []string{"--max-bytes", "2000000"},
		hinder: func() {},
		help: func() {
			stream, err := js.Stream(t.Context(), "OBJ_"+at.bucket)
			if err != nil {
				t.Fatal(err)
			}
			config := stream.CachedInfo().Config
			if config.MaxBytes != 2_000_000 {
				t.Errorf("the object store takes %d bytes", config.MaxBytes)
			}
			config.MaxBytes = 20_000_000
			if _, err := js.UpdateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// awayS3 is a server that ends, and is started again.
func awayS3(t *testing.T, _ *rig.Relay) hindered {
	t.Helper()
	b := newBucket(t)
	return hindered{at: b, hinder: b.Kill, help: func() { b.Restart(t) }}
}
