package telemetry

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// However many ask, the metrics are gathered a few times at once, and afterwards again.
func TestMetricsAreGatheredFewTimesAtOnce(t *testing.T) {
	t.Parallel()
	m := NewMetrics("test")
	gathering, goOn := make(chan struct{}), make(chan struct{})
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "slow"}, func() float64 {
		gathering <- struct{}{}
		<-goOn
		return 1
	}))
	handler := m.Handler()
	get := func() int {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		return w.Code
	}
	codes := make(chan int)
	for range maxGathering {
		go func() { codes <- get() }()
		<-gathering
	}
	for range 3 {
		if code := get(); code != http.StatusServiceUnavailable {
			t.Errorf("one too many got %d", code)
		}
	}
	close(goOn)
	for range maxGathering {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("one of few got %d", code)
		}
	}
	go func() { <-gathering }()
	if code := get(); code != http.StatusOK {
		t.Errorf("the next one got %d", code)
	}
}
