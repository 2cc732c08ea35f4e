package archive

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

var (
	images = flag.Int("images", 0, "how many images of 1 MiB TestThroughput stores; 0 skips it")
	only   = flag.String("only", "", "the one target that TestThroughput stores them in; all if empty")
)

// concurrency is how many images are on their way at once, for the archive and for curl.
const concurrency = 8

// Throughput against that of curl, which downloads the same from the same origin to the same
// disk in the same run and fsyncs nothing, and the archive's memory meanwhile:
//
//	go test -run Throughput -images 2000 -v -timeout 1h .
func TestThroughput(t *testing.T) {
	if *images == 0 {
		t.Skip("without -images")
	}
	for name := range places(nil) {
		if *only != "" && *only != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			relay, o := startRelay(ctx, t), startOrigin(t)
			at := places(func(testing.TB) string { return relay.Broker })[name](t)
			names := make([]string, *images)
			for i := range names {
				names[i] = fmt.Sprintf("image%d-%d.png", i, 1<<20)
			}
			deliverAll(ctx, t, relay, o, names)
			floor := curl(ctx, t, o, names)
			took, memory := timed(ctx, t, archive(t, settings(relay, o), at, "--until-now", "--concurrency", fmt.Sprint(concurrency)))
			rate := func(took time.Duration) float64 { return float64(*images) / took.Seconds() }
			t.Logf("%s: %d images of 1 MiB: the archive %.0f MiB/s, curl %.0f MiB/s, ratio %.2f; resident memory by tenths of the time: %s MiB",
				name, *images, rate(took), rate(floor), rate(took)/rate(floor), memory)
			files, leftovers := at.Read(ctx, t)
			if len(files) != *images || len(leftovers) != 0 {
				t.Errorf("%d files are there, and %d leftovers", len(files), len(leftovers))
			}
		})
	}
}

// deliverAll sends a webhook for each image, several at a time.
func deliverAll(ctx context.Context, t *testing.T, relay *rig.Relay, o *origin, names []string) {
	t.Helper()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	s := sender(relay)
	for i, name := range names {
		group.Go(func() error {
			answer, err := s.PostBody(ctx, good(fmt.Sprintf("task_%d", i), o.URL+"/ok/"+name).body(t))
			if err == nil && answer.Status != http.StatusOK {
				err = fmt.Errorf("a webhook was answered %d", answer.Status)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// curl downloads the images to a folder, which it leaves to be removed.
func curl(ctx context.Context, t *testing.T, o *origin, names []string) time.Duration {
	t.Helper()
	dir := t.TempDir()
	var config strings.Builder
	for _, name := range names {
		fmt.Fprintf(&config, "url = %q\noutput = %q\n", o.URL+"/ok/"+name, name)
	}
	file := filepath.Join(t.TempDir(), "curl.conf")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--parallel", "--parallel-max", fmt.Sprint(concurrency), "--config", file)
	cmd.Dir = dir
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("curl: %v\n%s", err, out)
	}
	return time.Since(start)
}

// timed waits for the end of a command, and says how much memory it had (RSS): the most in
// each tenth of the time.
func timed(ctx context.Context, t *testing.T, c *command) (took time.Duration, memory string) {
	t.Helper()
	start := time.Now()
	var samples []int
	for done := false; !done; {
		select {
		case <-c.ended:
			done = true
		case <-time.After(50 * time.Millisecond):
			if rss := residentMiB(c.cmd.Process.Pid); rss > 0 {
				samples = append(samples, rss)
			}
		}
	}
	took = time.Since(start)
	if code := c.Wait(ctx, t); code != 0 {
		t.Fatalf("the archive ended with %d", code)
	}
	var most []string
	for i := range 10 {
		tenth := samples[len(samples)*i/10 : len(samples)*(i+1)/10]
		if len(tenth) > 0 {
			most = append(most, fmt.Sprint(slices.Max(tenth)))
		}
	}
	return took, strings.Join(most, " ")
}

// residentMiB is the memory of a process, 0 if it has ended.
func residentMiB(pid int) (mib int) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	_, _ = fmt.Sscanf(rest, "%d", &mib)
	return mib >> 10
}
