// Package admin is the endpoint for operators and their probes: health,
// readiness and metrics. It asks no one for a secret and tells none.
//
// Nor does it ask for which host a request is, unlike the webhook endpoint: nothing
// can be changed here, a web page whose name is bound to this machine would read
// counters, and probes and scrapers come by whatever name or address they know.
package admin

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Checks are the questions that the endpoint passes on. Each is called for
// every request, and returns nil for yes.
type Checks struct {
	// Health: can this process recover by itself? If not, only a restart helps.
	Health func() error
	// Ready: would a webhook be accepted now?
	Ready func() error
	// Notes are sentences that readiness tells besides, if it is not nil: what is
	// wrong although a webhook would be accepted.
	Notes func() []string
}

// Handler serves /healthz, /readyz and /metrics.
func Handler(checks Checks, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", status("ok", "unhealthy", checks.Health, nil))
	mux.HandleFunc("GET /readyz", status("ready", "not ready", checks.Ready, checks.Notes))
	mux.Handle("GET /metrics", metrics)
	return mux
}

// Server is an HTTP server for the handler, with timeouts that fit probes.
func Server(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// report is the body of a health or readiness answer.
type report struct {
	Status  string   `json:"status"`
	Reasons []string `json:"reasons,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

func status(yes, no string, check func() error, notes func() []string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		r, code := report{Status: yes}, http.StatusOK
		if err := check(); err != nil {
			r, code = report{Status: no, Reasons: reasons(err)}, http.StatusServiceUnavailable
		}
		if notes != nil {
			r.Notes = notes()
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(code)
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(r) // whoever has hung up needs no answer
	}
}

// reasons takes joined errors apart, but for one that has words of its own
// around them.
func reasons(err error) (texts []string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			texts = append(texts, reasons(e)...)
		}
		if strings.Join(texts, "\n") == err.Error() {
			return texts
		}
	}
	return []string{err.Error()}
}
