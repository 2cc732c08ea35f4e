package verify_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
	"github.com/apixo-relay/apixo-relay/relay/verify"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const key = "sk-0123456789abcdef"

// verifier returns one over a status API, and the metrics that it counts in.
func verifier(t *testing.T, api http.Handler, timeout time.Duration) (*verify.Verifier, *telemetry.Metrics) {
	t.Helper()
	server := httptest.NewServer(api)
	transport := httpclient.NewTransport(64, nil, nil)
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	client, err := apixo.New(apixo.Options{
		API: config.API{Key: key, BaseURL: server.URL, Rate: 1e6}, Agent: "test", Transport: transport, Timeout: timeout, MaxAnswer: 1 << 16,
	})
	if err != nil {
		t.Fatal(err)
	}
	metrics := telemetry.NewMetrics("test")
	v := verify.New(client, timeout, metrics)
	t.Cleanup(v.Close)
	return v, metrics
}

func delivery(body string) event.Delivery {
	return event.Delivery{Body: []byte(body), Attributes: map[string]string{"model": "nano-banana"}}
}

// What the API tells is compared by value with what the webhook does.
func TestVerify(t *testing.T) {
	t.Parallel()
	result := fakeapi.Result("task_1")
	for name, test := range map[string]struct {
		body   string
		answer fakeapi.Answer
		want   verify.Verdict
		says   string
	}{
		"same":           {result, fakeapi.Success, verify.Confirmed, ""},
		"other spelling": {strings.Replace(result, `\"resultUrls\":[`, ` \"resultUrls\" : [ `, 1), fakeapi.Success, verify.Confirmed, ""},
		"other address":  {strings.Replace(result, "cdn.apixo.ai", "evil.example", 1), fakeapi.Success, verify.Contradicted, "another resultJson"},
		"other state":    {result, fakeapi.Failure, verify.Contradicted, "another state, resultJson, failCode, failMsg"},
		"no such task":   {result, fakeapi.Error(404, "no such task"), verify.Contradicted, "knows no such task of the model nano-banana"},
		"pending":        {result, fakeapi.State("processing"), verify.Unknown, "has not ended"},
		"proxy":          {result, fakeapi.HTML(404), verify.Unknown, "no usable answer"},
		"in trouble":     {result, fakeapi.Error(500, "oops"), verify.Unknown, "no usable answer"},
		"wrong key":      {result, fakeapi.Error(401, "bad key"), verify.Unknown, "no usable answer"},
		"another's":      {result, fakeapi.Body(200, fakeapi.Result("task_2")), verify.Unknown, "no usable answer"},
		"large":          {result, fakeapi.Large(10 << 20), verify.Unknown, "no usable answer"},
		"no result":      {result, fakeapi.Body(200, `{"code":200,"data":{"taskId":"%s","state":"success","resultJson":"{"}}`), verify.Unknown, "no usable answer"},
		"redirect":       {result, fakeapi.Redirect("http://127.0.0.1:1/"), verify.Unknown, "no usable answer"},
		"silent":         {result, fakeapi.Silent, verify.Unknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := fakeapi.New(key)
			api.Default(test.answer)
			timeout := 10 * time.Second
			if name == "silent" {
				timeout = 50 * time.Millisecond
			}
			v, metrics := verifier(t, api, timeout)
			got, isTask := v.Verify(t.Context(), delivery(test.body))
			if !isTask || got.Verdict != test.want || !strings.Contains(got.Detail, test.says) {
				t.Errorf("%+v, want %s, %q", got, test.want, test.says)
			}
			label := map[verify.Verdict]string{verify.Confirmed: "confirmed", verify.Contradicted: "contradicted", verify.Unknown: "unknown"}[test.want]
			w := httptest.NewRecorder()
			metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			if line := fmt.Sprintf("verifications_total{result=%q} 1\n", label); !strings.Contains(w.Body.String(), line) {
				t.Errorf("not counted as %s", label)
			}
		})
	}
}

// Nobody is asked about what is no webhook, or without a model that can stand in a path.
func TestNotAsked(t *testing.T) {
	t.Parallel()
	api := fakeapi.New(key)
	v, _ := verifier(t, api, time.Second)
	for _, body := range []string{"", "x", `{"data":{"taskId":"a","state":"pending"}}`} {
		if got, isTask := v.Verify(t.Context(), delivery(body)); isTask {
			t.Errorf("%q: %+v", body, got)
		}
	}
	for _, model := range []string{"", "..", "a/b", "a b"} {
		d := delivery(fakeapi.Result("task_1"))
		d.Attributes = map[string]string{"model": model}
		if got, _ := v.Verify(t.Context(), d); got.Verdict != verify.Unknown || !strings.Contains(got.Detail, "?model=") {
			t.Errorf("%q: %+v", model, got)
		}
	}
	if asked := api.Asked(); len(asked) > 0 {
		t.Errorf("asked for %v", asked)
	}
}

// A storm of webhooks about one task is one request, at once and afterwards.
func TestStormOfOne(t *testing.T) {
	t.Parallel()
	api := fakeapi.New(key)
	held := make(chan struct{})
	api.Default(fakeapi.Held(held, fakeapi.Error(404, "no such task")))
	v, _ := verifier(t, api, 30*time.Second)
	var storm sync.WaitGroup
	for range 200 {
		storm.Go(func() {
			if got, _ := v.Verify(t.Context(), delivery(fakeapi.Result("task_1"))); got.Verdict != verify.Contradicted {
				t.Errorf("%+v", got)
			}
		})
	}
	close(held)
	storm.Wait()
	for range 100 {
		if got, _ := v.Verify(t.Context(), delivery(fakeapi.Result("task_1"))); got.Verdict != verify.Contradicted {
			t.Errorf("%+v", got)
		}
	}
	if asked := api.Asked()["task_1"]; asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// A storm about many tasks asks for so many at once, and what waits too long is not known.
func TestStormOfMany(t *testing.T) {
	t.Parallel()
	const most = 32
	counted := &countingTransport{}
	client, err := apixo.New(apixo.Options{
		API: config.API{Key: key, BaseURL: "http://127.0.0.1:1", Rate: 1e6}, Agent: "test", Transport: counted, Timeout: time.Minute, MaxAnswer: 1 << 16,
	})
	if err != nil {
		t.Fatal(err)
	}
	v := verify.New(client, 300*time.Millisecond, telemetry.NewMetrics("test"))
	t.Cleanup(v.Close)
	var storm sync.WaitGroup
	for i := range 10 * most {
		storm.Go(func() {
			if got, _ := v.Verify(t.Context(), delivery(fakeapi.Result(fmt.Sprintf("task_%d", i)))); got.Verdict != verify.Unknown {
				t.Errorf("%+v", got)
			}
		})
	}
	storm.Wait()
	if peak := counted.peak.Load(); peak > most || peak == 0 {
		t.Errorf("%d requests at once", peak)
	}
}

// countingTransport counts requests that are under way at once. None is answered.
type countingTransport struct{ under, peak atomic.Int64 }

// RoundTrip implements http.RoundTripper.
func (c *countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	n := c.under.Add(1)
	defer c.under.Add(-1)
	for peak := c.peak.Load(); n > peak && !c.peak.CompareAndSwap(peak, n); peak = c.peak.Load() {
	}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// Who comes first may give up, and those who wait for the same get their answer.
func TestSharedRequestOutlivesWhoCameFirst(t *testing.T) {
	t.Parallel()
	api := fakeapi.New(key)
	asked, goOn := make(chan struct{}), make(chan struct{})
	api.Default(func(w http.ResponseWriter, r *http.Request, id string) {
		close(asked)
		<-goOn
		fakeapi.Success(w, r, id)
	})
	v, _ := verifier(t, api, 30*time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan verify.Verdict, 1), make(chan verify.Verdict, 1)
	go func() {
		got, _ := v.Verify(ctx, delivery(fakeapi.Result("task_1")))
		first <- got.Verdict
	}()
	<-asked
	go func() {
		got, _ := v.Verify(t.Context(), delivery(fakeapi.Result("task_1")))
		second <- got.Verdict
	}()
	cancel()
	if got := <-first; got != verify.Unknown {
		t.Error(got)
	}
	close(goOn)
	if got := <-second; got != verify.Confirmed {
		t.Error(got)
	}
}

// Nothing is under way any more when the verifier is closed.
func TestClose(t *testing.T) {
	t.Parallel()
	api := fakeapi.New(key)
	asked := make(chan struct{})
	api.Default(func(w http.ResponseWriter, r *http.Request, id string) {
		close(asked)
		fakeapi.Silent(w, r, id)
	})
	v, _ := verifier(t, api, time.Hour)
	got := make(chan verify.Verdict, 1)
	go func() {
		result, _ := v.Verify(t.Context(), delivery(fakeapi.Result("task_1")))
		got <- result.Verdict
	}()
	<-asked
	v.Close()
	if verdict := <-got; verdict != verify.Unknown {
		t.Error(verdict)
	}
}
