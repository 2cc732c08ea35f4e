package relay

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/endpoint"
	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/service/servicetest"
)

func TestServices(t *testing.T) {
	for name, build := range map[string]func(*testing.T) service.Service{
		"file watchers": func(t *testing.T) service.Service {
			w := &fileWatchers{log: slog.New(slog.DiscardHandler)}
			for range 3 {
				w.add("a file", []string{t.TempDir()}, func() error { return nil })
			}
			return w
		},
		"health watcher": func(*testing.T) service.Service { return newWatchdog(nil, func() error { return nil }) },
		"server": func(t *testing.T) service.Service {
			r := &Relay{cfg: config.Config{Webhooks: config.Webhooks{ShutdownTimeout: time.Second}}, failed: mustNotFail(t)}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = closeListener(l)(context.Background()) })
			return r.serverOf("server", endpoint.New(endpoint.Settings{
				HTTP: &http.Server{Handler: http.NotFoundHandler()}, Listener: l, MaxConns: func() int { return 1 }, OnShutdown: func() {}, Timeout: time.Second,
			}), nil)
		},
	} {
		t.Run(name, func(t *testing.T) { servicetest.Stress(t, build) })
	}
}

// mustNotFail returns the channel of a relay that must not fail.
func mustNotFail(t *testing.T) chan error {
	failed := make(chan error, 1)
	t.Cleanup(func() {
		select {
		case err := <-failed:
			t.Errorf("it ended by itself: %v", err)
		default:
		}
	})
	return failed
}
