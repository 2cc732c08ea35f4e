package archive

import (
	"context"
	"fmt"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// Two instances share the work, say how they are, and end in order when they are asked to, with
// what they had begun left to the other.
func TestInstancesShareTheWork(t *testing.T) {
	atEach(t, func(ctx context.Context, t *testing.T, relay *rig.Relay, o *origin, at place) {
		admins := make([]string, 2)
		instances := make([]*command, 2)
		for i := range instances {
			addr, err := newRig(t, nil).UnusedAddr()
			if err != nil {
				t.Fatal(err)
			}
			admins[i] = "http://" + addr
			instances[i] = archive(t, settings(relay, o, "RELAY_ARCHIVE_ADMIN_ADDR="+addr), at, "--concurrency", "2")
			await(t, "an instance does not become ready", func() bool { return ask(admins[i]+"/readyz") == 200 })
		}
		var tasks []task
		for i := range 4 {
			tasks = append(tasks, good(fmt.Sprintf("task_%d", i), fmt.Sprintf("%s/held/held-%d.png", o.URL, 100_000+i)))
		}
		deliver(ctx, t, relay, tasks...)
		await(t, "not all are on their way", func() bool { return o.AskedInAll() == len(tasks) })
		for _, admin := range admins {
			if m := metrics(t, admin); m["archived_files_total"] != 0 || m["archive_backlog_events"] != 4 || m["archive_target_up"] != 1 || m["broker_connected"] != 1 {
				t.Errorf("before anything is stored, an instance tells %v", m)
			}
		}
		o.Release()
		sum := func(metric string) (sum float64) {
			for _, admin := range admins {
				sum += metrics(t, admin)[metric]
			}
			return sum
		}
		await(t, "not all are stored", func() bool { return sum("archived_files_total") == 4 })
		for _, admin := range admins {
			if m := metrics(t, admin); m["archived_files_total"] != 2 || m["archive_time_left_seconds"] != 2 {
				t.Errorf("an instance has not done its part: %v", m)
			}
		}
		if got, want := sum("archived_bytes_total"), 400_000.+0+1+2+3; got != want {
			t.Errorf("%v bytes are told, %v were stored", got, want)
		}

		another := good("task_another", o.URL+"/endless/endless-1000000.bin", o.URL+"/status,404/gone.png")
		another.failures = []failure{{another.urls[0], "too-large"}, {another.urls[1], "gone"}}
		another.files = nil
		deliver(ctx, t, relay, another)
		tasks = append(tasks, another)
		await(t, "failures are not told", func() bool {
			return sum("archive_failures_total{too-large}") == 1 && sum("archive_failures_total{gone}") == 1
		})
		await(t, "the backlog does not end", func() bool { return metrics(t, admins[0])["archive_backlog_events"] == 0 })
		for _, instance := range instances {
			if code := instance.Stop(ctx, t); code != 0 {
				t.Errorf("an instance ended with %d", code)
			}
		}
		check(ctx, t, relay.Broker, at, tasks)
	})
}
