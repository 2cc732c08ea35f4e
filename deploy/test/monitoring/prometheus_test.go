package monitoring

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// interval is that of scrapes and evaluations here.
const interval = 500 * time.Millisecond

// limit bounds the wait for anything that has to happen.
const limit = 3 * time.Minute

// prometheus is a running server with the files of deploy/prometheus, but faster.
type prometheus struct{ url string }

// startPrometheus starts one that scrapes the given relays, with their names as instances.
func startPrometheus(t *testing.T, targets ...*node) *prometheus {
	t.Helper()
	program, folder := tool(t, "prometheus"), t.TempDir()
	config := read(t, relaytest.Deploy("prometheus", "prometheus.yaml"))
	config = strings.ReplaceAll(config, "15s", interval.String())
	var list strings.Builder
	for _, n := range targets {
		labels := "instance: " + n.name
		if n.job != "" {
			labels += ", job: " + n.job
		}
		fmt.Fprintf(&list, "      - {targets: ['%s'], labels: {%s}}\n", host(t, n.Admin), labels)
	}
	config = replaced(t, config, `(?m)^      - targets:\n +- localhost:8721\n`, list.String())
	write(t, filepath.Join(folder, "prometheus.yaml"), config)
	write(t, filepath.Join(folder, filepath.Base(rulesFile)), quick(t, read(t, rulesFile)))

	cmd := exec.Command(program, "--config.file="+filepath.Join(folder, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address=127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, ended := make(chan string, 1), make(chan struct{})
	var log bytes.Buffer // of the goroutine, until it has ended
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(io.TeeReader(stderr, &log))
		for lines.Scan() {
			if found := matches(lines.Text(), `Listening on".* address=(\S+)`); found != nil {
				addr <- found[0]
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
		if t.Failed() {
			t.Logf("the log of Prometheus:\n%s", log.String())
		}
	})
	p := new(prometheus)
	select {
	case a := <-addr:
		p.url = "http://" + a
	case <-ended:
		t.Fatalf("Prometheus ended:\n%s", log.String())
	case <-time.After(limit):
		t.Fatal("Prometheus did not start in time")
	}
	await(t, "Prometheus is ready", func() bool {
		resp, err := http.Get(p.url + "/-/ready")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
	return p
}

// quick are the rules with minutes made seconds, and an outbox that is soon old. The
// expressions are the same.
func quick(t *testing.T, rules string) string {
	rules = replaced(t, rules, `(?m)^( +for:) \d+m$`, "$1 1s")
	rules = replaced(t, rules, `\[\d+m\]`, "[12s]")
	return replaced(t, rules, `_oldest_seconds > 900\n`, "_oldest_seconds > 2\n")
}

// series is one of a result. Time is in seconds since 1970.
type series struct {
	Labels map[string]string `json:"metric"`
	Points []point           `json:"values"`
	Last   *point            `json:"value"` // of an instant
}

type point struct{ time, value float64 }

func (p *point) UnmarshalJSON(b []byte) (err error) {
	var value string
	if err := json.Unmarshal(b, &[]any{&p.time, &value}); err != nil {
		return err
	}
	p.value, err = strconv.ParseFloat(value, 64)
	return err
}

// query asks for what a query is now.
func (p *prometheus) query(t *testing.T, expr string) []series {
	t.Helper()
	var data struct{ Result []series }
	p.ask(t, "/api/v1/query", url.Values{"query": {expr}}, &data)
	for i, s := range data.Result {
		data.Result[i].Points = []point{*s.Last}
	}
	return data.Result
}

// queryRange asks for what it was in that time.
func (p *prometheus) queryRange(t *testing.T, expr string, from, to time.Time, step time.Duration) []series {
	t.Helper()
	var data struct{ Result []series }
	seconds := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	p.ask(t, "/api/v1/query_range", url.Values{"query": {expr}, "start": {seconds(from)}, "end": {seconds(to)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', 3, 64)}}, &data)
	return data.Result
}

// alert is one that is pending or firing.
type alert struct {
	State  string
	Labels map[string]string
}

func (p *prometheus) alerts(t *testing.T) []alert {
	t.Helper()
	var data struct{ Alerts []alert }
	p.ask(t, "/api/v1/alerts", nil, &data)
	return data.Alerts
}

// ask decodes the data of an answer.
func (p *prometheus) ask(t *testing.T, path string, form url.Values, data any) {
	t.Helper()
	resp, err := http.Get(p.url + path + "?" + form.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s %v: %s %v", path, form, answer.Error, err)
	}
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(interval / 5)
	}
}

// replaced replaces what must be there.
func replaced(t *testing.T, text, pattern, with string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	if !re.MatchString(text) {
		t.Fatalf("%s was expected in\n%s", pattern, text)
	}
	return re.ReplaceAllString(text, with)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
