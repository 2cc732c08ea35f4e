package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// untilSignal is a context that ends with the first SIGTERM, SIGINT or SIGHUP, which
// asks for an orderly end. By then SIGTERM and SIGINT have their ordinary effect again,
// so that a second one ends the process at once; signal.NotifyContext would leave a
// moment in which it is swallowed.
//
// SIGHUP is what onHangup makes of it, and never ends the process at once: whoever
// closes a terminal or a session sends more than one signal. One that was ignored when
// the process started, as nohup has it, stays so.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	ends, hangups := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, os.Interrupt)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(hangups, syscall.SIGHUP)
	}
	var hangup hangupFunc
	go func() {
		for {
			select {
			case <-ends:
				signal.Stop(ends)
				cancel()
			case <-hangups:
				if do := hangup.Load(); do != nil {
					(*do)()
				} else {
					cancel()
				}
			}
		}
	}()
	return context.WithValue(ctx, hangupKey{}, &hangup)
}

// hangupFunc is what is done on SIGHUP; nil ends in order.
type hangupFunc = atomic.Pointer[func()]

// hangupKey is the key of the hangupFunc in a context of untilSignal.
type hangupKey struct{}

// onHangup makes SIGHUP call a function that returns soon, from now on, instead of
// ending the context.
func onHangup(ctx context.Context, do func()) {
	if f, ok := ctx.Value(hangupKey{}).(*hangupFunc); ok {
		f.Store(&do)
	}
}
