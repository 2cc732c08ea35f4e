// Package servicetest holds implementations of [service.Service] against its contract.
package servicetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/service"
)

// Stress starts and stops services that build returns, in all ways that the contract allows.
// It fails the test if one does not start or stop. What goroutines it leaves the package's
// TestMain finds out (see natstest.Main).
func Stress(t *testing.T, build func(t *testing.T) service.Service) {
	t.Helper()
	for name, use := range map[string]func(context.Context, *testing.T, service.Service){
		"stopped before it starts": func(ctx context.Context, t *testing.T, s service.Service) {
			stop(ctx, t, s)
			_ = s.Start(ctx) // which starts nothing, whatever it returns
		},
		"stopped twice": func(ctx context.Context, t *testing.T, s service.Service) {
			start(ctx, t, s)
			stop(ctx, t, s)
		},
		"stopped by many": func(ctx context.Context, t *testing.T, s service.Service) {
			start(ctx, t, s)
			var many sync.WaitGroup
			for range 8 {
				many.Go(func() { stop(ctx, t, s) })
			}
			many.Wait()
		},
		"stopped while it starts": func(ctx context.Context, t *testing.T, s service.Service) {
			var both sync.WaitGroup
			both.Go(func() { _ = s.Start(ctx) })
			both.Go(func() { stop(ctx, t, s) })
			both.Wait()
		},
		"started by somebody who has gone": func(ctx context.Context, t *testing.T, s service.Service) {
			started, gone := context.WithCancel(ctx)
			err := s.Start(started)
			gone()
			if err != nil {
				t.Errorf("not started: %v", err)
			}
		},
		"started too late": func(ctx context.Context, t *testing.T, s service.Service) {
			late, cancel := context.WithCancel(ctx)
			cancel()
			_ = s.Start(late) // it may need no time
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := build(t)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			use(ctx, t, s)
			stop(ctx, t, s)
		})
	}
}

func start(ctx context.Context, t *testing.T, s service.Service) {
	t.Helper()
	if err := s.Start(ctx); err != nil {
		t.Errorf("not started: %v", err)
	}
}

func stop(ctx context.Context, t *testing.T, s service.Service) {
	t.Helper()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("not stopped: %v", err)
	}
}
