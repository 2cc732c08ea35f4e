package expect_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/expect"
	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

func open(t *testing.T, environ ...string) (*nats.Conn, config.Config) {
	t.Helper()
	s := natstest.Start(t, natstest.Options(t))
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	cfg, err := config.Load(append(environ, "NATS_URL="+s.ClientURL()))
	if err != nil {
		t.Fatal(err)
	}
	return conn, cfg
}

func announce(t *testing.T, conn *nats.Conn, cfg config.Config, o expect.Options, lines string) (results []string, err error) {
	t.Helper()
	if o.Tasks, err = tasklist.FromLines(strings.NewReader(lines), "nano-banana"); err != nil {
		t.Fatal(err)
	}
	o.OnResult = func(r expect.Result) error {
		results = append(results, r.TaskID+" "+r.Model+" "+r.Result)
		return nil
	}
	err = expect.New(conn, cfg).Run(t.Context(), o)
	slices.Sort(results)
	return results, err
}

func TestAnnounceAndList(t *testing.T) {
	t.Parallel()
	conn, cfg := open(t, "RELAY_EXPECT_AFTER=10m")
	if _, err := expect.New(conn, cfg).List(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no bucket APIXO_EXPECTED") {
		t.Errorf("listed without a bucket: %v", err)
	}
	made := 0
	o := expect.Options{Attributes: map[string]string{"user": "42"}, OnMade: func(string) { made++ }}
	results, err := announce(t, conn, cfg, o, "a\nveo-3 b:1\n")
	if want := []string{"a nano-banana announced", "b:1 veo-3 announced"}; err != nil || made != 1 || !slices.Equal(results, want) {
		t.Errorf("%v, %v, made %d times", results, err, made)
	}
	results, err = announce(t, conn, cfg, o, "a\nc\n")
	if want := []string{"a nano-banana already", "c nano-banana announced"}; err != nil || made != 1 || !slices.Equal(results, want) {
		t.Errorf("again: %v, %v, made %d times", results, err, made)
	}
	tasks, err := expect.New(conn, cfg).List(t.Context())
	if err != nil || len(tasks) != 3 {
		t.Fatal(tasks, err)
	}
	for _, task := range tasks {
		if wait := task.Next.Sub(task.Announced); task.Asked != 0 || wait != 10*time.Minute || task.Attributes["user"] != "42" || task.Problem != "" {
			t.Errorf("%+v", task)
		}
	}
}

func TestRequireMakesNoBucket(t *testing.T) {
	t.Parallel()
	conn, cfg := open(t, "RELAY_STREAM_POLICY=require")
	if _, err := announce(t, conn, cfg, expect.Options{}, "a"); err == nil || !strings.Contains(err.Error(), "nats kv add APIXO_EXPECTED") {
		t.Error(err)
	}
}

func TestWriteText(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	var b strings.Builder
	err := expect.WriteText(&b, []expect.Task{
		{TaskID: "a", Model: "nano-banana", Announced: now.Add(-25 * time.Hour), Asked: 3, Next: now.Add(10*time.Minute + 10*time.Second), LastAnswer: "processing\x1b[31m"},
		{TaskID: "task_b", Model: "m", Announced: now.Add(-time.Minute), Next: now.Add(-time.Second)},
		{TaskID: "c/d", Announced: now, Problem: "it is no task id"},
	}, now, false)
	want := `TASK    MODEL        ANNOUNCED     ASKED  NEXT        LAST ANSWER
a       nano-banana  25h ago           3  in 10m10s   processing�[31m
task_b  m            1m ago            0  now
c/d                  0s ago            0  -           it is no task id
3 outstanding
`
	if err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, b.String(), want)
	}
	b.Reset()
	if err := expect.WriteText(&b, nil, now, false); err != nil || fmt.Sprint(&b) != "0 outstanding\n" {
		t.Error(err, b.String())
	}
}
