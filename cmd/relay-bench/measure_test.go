//go:build system

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Everything is measured, another build and another receiver beside it.
func TestBench(t *testing.T) {
	var other counter
	receiver := httptest.NewServer(&other)
	defer receiver.Close()
	plot := filepath.Join(t.TempDir(), "plot.svg")
	code, stdout, stderr := bench(t.Context(), t, "--connections=2,1", "--json", "--plot", plot, "--against", relayProgram, "--against-env", "RELAY_EXPECT=true", "--against-env", "APIXO_API_KEY=none",
		"--url", strings.Replace(receiver.URL, "http://", "http://relay:secret0123456789@", 1)+"/token0123456789ab")
	if code != exitMeasured || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var got record
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	receivers := []string{idFloor, idNaive, idExternal, idAgainstExternal, idAlways, idAgainstAlways, idInterval, receiver.URL}
	var want, rows, idle []string
	for _, load := range []string{"2", "1", "200/s"} {
		for _, id := range receivers {
			want = append(want, load+" "+id)
		}
	}
	for _, r := range got.Rows {
		rows = append(rows, r.Load+" "+r.Receiver)
		if r.Stored == 0 || r.Failed != 0 || !(r.PerSecond > 0) || !(r.P50 > 0) || !(r.P99 >= r.P50) {
			t.Errorf("%+v", r)
		}
		if _, measured := cpuTime(os.Getpid()); measured && r.Receiver != receiver.URL && !(r.CPU > 0 && r.Anon > 0) {
			t.Errorf("%+v", r)
		}
	}
	for _, r := range got.Idle {
		idle = append(idle, r.Receiver)
	}
	if !slices.Equal(rows, want) || !slices.Equal(idle, append(receivers, idBroker)) {
		t.Errorf("measured were %v and idle %v", rows, idle)
	}
	if len(got.Ratios) != 3*len(compared) || got.Facts.Relay == "" || got.Facts.Against != got.Facts.Relay || got.Facts.Fsyncs == 0 || !(got.Facts.Ready > 0) {
		t.Errorf("%+v, %+v", got.Facts, got.Ratios)
	}
	for _, secret := range []string{"secret0123456789", "token0123456789ab"} {
		if strings.Contains(stdout, secret) {
			t.Errorf("%s is printed", secret)
		}
	}
	if got := other.head.Get("Authorization"); got != "Basic cmVsYXk6c2VjcmV0MDEyMzQ1Njc4OQ==" {
		t.Errorf("the other receiver got Authorization %q", got)
	}
	svg, err := os.ReadFile(plot)
	if err != nil {
		t.Fatal(err)
	}
	parseXML(t, svg)
}

// What fails is said, in the table and by the exit code.
func TestFailingReceiver(t *testing.T) {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer receiver.Close()
	code, stdout, stderr := bench(t.Context(), t, "--url", receiver.URL)
	if code != exitFailed || !strings.Contains(stderr, "webhooks failed") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"relay, interval", " !", "× 503 Service Unavailable", "start to ready"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}
