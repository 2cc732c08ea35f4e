package ui

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/ops/ui/access"
)

// benchStored is how many events are stored while views are measured.
const benchStored = 100_000

// serveOnce serves a request without a connection.
func serveOnce(b *testing.B, h http.Handler, path string, status int) {
	b.Helper()
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://127.0.0.1"+path, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != status {
		b.Fatalf("%s: %d\n%.2000s", path, w.Code, w.Body)
	}
}

// BenchmarkViews is the time of each view with 100,000 events stored, and floor that of a
// handler which does nothing, behind the same guard: what is compared is their ratio.
func BenchmarkViews(b *testing.B) {
	s := newStore(b)
	s.many(b, benchStored)
	for i := range 200 {
		s.webhook(b, "no JSON "+id(i))
	}
	p := s.site(b)
	p.known(s)
	nothing := access.New(access.Options{Addr: "127.0.0.1:8722", Log: p.o.Log}).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	pages := p.guard.Handler(p.routes())
	for _, view := range []struct {
		name, path string
		handler    http.Handler
		status     int
	}{
		{"floor", "/", nothing, 200},
		{"static", "/static/style.css", pages, 200},
		{"now", "/", pages, 200},
		{"task", "/tasks/" + id(benchStored/2), pages, 200},
		{"unknown", "/tasks/unknown", pages, 404},
		{"events", "/events", pages, 200},
		{"events-oldest", "/events?before=51", pages, 200},
		{"quarantine", "/quarantine", pages, 200},
		{"quarantined", "/quarantine/1", pages, 200},
		{"replay", "/replay", pages, 200},
		{"expected", "/expected", pages, 200},
	} {
		b.Run(view.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				serveOnce(b, view.handler, view.path, view.status)
			}
		})
	}
}

// BenchmarkLookUp is the time in which the events of a task are found by its id, and round-trip
// that of one message by its sequence.
func BenchmarkLookUp(b *testing.B) {
	s := newStore(b)
	s.many(b, benchStored)
	p := s.site(b)
	p.known(s)
	b.Run("round-trip", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.message(b.Context(), "APIXO", benchStored/2); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, task := range map[string]string{"oldest": id(0), "newest": id(benchStored - 1), "unknown": "unknown"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				found, search, err := p.lookUp(b.Context(), task)
				if err != nil || search != nil || (len(found) == 1) != (task != "unknown") {
					b.Fatal(len(found), search, err)
				}
			}
		})
	}
}
