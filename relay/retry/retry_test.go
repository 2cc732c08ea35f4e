package retry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	for range 100 {
		b := Backoff(time.Second, 10*time.Second)
		for i, middle := range []time.Duration{1, 2, 4, 8, 10, 10} {
			middle *= time.Second
			if got := b.NextBackOff(); got < middle/2 || got > middle*3/2 {
				t.Errorf("after %d: %s", i+1, got)
			}
		}
	}
}

// It is tried for as long as there is time, however long that is.
func TestDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := errors.New("over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, over)
		defer cancel()
		began, tries := time.Now(), 0
		fail := func() (int, error) {
			tries++
			return tries, errors.New("not yet")
		}
		if n, err := Do(ctx, Backoff(time.Second, time.Minute), fail); !errors.Is(err, over) || n != tries || tries < 40 || time.Since(began) != time.Hour {
			t.Errorf("%d, %v after %d tries in %s", n, err, tries, time.Since(began))
		}
	})
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := Sleep(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		over := errors.New("over")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(over) })
		if err := Sleep(ctx, time.Hour); !errors.Is(err, over) || time.Since(began) != time.Minute+time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
