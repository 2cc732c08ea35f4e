package service_test

import (
	"context"
	"errors"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/service/servicetest"
	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// waiters is a service of goroutines that wait for their end.
type waiters struct{ service.Background }

func (w *waiters) Start(context.Context) error {
	for range 3 {
		w.Go(func(ctx context.Context) { <-ctx.Done() })
	}
	return nil
}

func TestBackground(t *testing.T) {
	servicetest.Stress(t, func(*testing.T) service.Service { return new(waiters) })
}

// Stop waits for what runs, and no longer than it may.
func TestStopIsBounded(t *testing.T) {
	var b service.Background
	end := make(chan struct{})
	b.Go(func(context.Context) { <-end })
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("it is late")
	cancel(late)
	if err := b.Stop(ctx); !errors.Is(err, late) {
		t.Errorf("stopped while something runs: %v", err)
	}
	close(end)
	if err := b.Stop(t.Context()); err != nil {
		t.Errorf("not stopped: %v", err)
	}
	if err := b.Stop(ctx); err != nil {
		t.Errorf("stopped already, and late: %v", err)
	}
	b.Go(func(context.Context) { t.Error("something was started after Stop") })
}
