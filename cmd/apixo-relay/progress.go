package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/apixo-relay/apixo-relay/relay/ops/send"
)

// showSendProgress makes the run report itself on standard error: many webhooks
// with a bar on a terminal, one with a line for each attempt that is not the
// last. The function that it returns takes the bar away.
func showSendProgress(stderr io.Writer, o *send.Options) (end func()) {
	total := o.Count * len(o.Payloads)
	if total == 1 {
		last := len(o.Retries) + 1
		o.OnAttempt = func(a send.Attempt) {
			if a.Retrying {
				fmt.Fprintf(stderr, "attempt %d of %d: %s; the next in %v\n", a.Number, last, send.StatusLine(a.Status, a.Cause), a.RetryIn)
			}
		}
		return func() {}
	}
	if !isTerminal(stderr) {
		return func() {}
	}
	p := &sendProgress{bar: progressbar.NewOptions(total,
		progressbar.OptionSetWriter(stderr),
		progressbar.OptionSetDescription("sending"),
		progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	), stop: make(chan struct{})}
	o.OnAttempt = p.attempt
	p.done.Go(p.refresh)
	return p.end
}

// sendProgress is a bar of webhooks that have ended.
type sendProgress struct {
	bar  *progressbar.ProgressBar
	stop chan struct{}
	done sync.WaitGroup
}

func (p *sendProgress) attempt(a send.Attempt) {
	description := "sending"
	if a.Failed+a.Waiting > 0 {
		description = fmt.Sprintf("%d failed, %d to be retried", a.Failed, a.Waiting)
	}
	// What a terminal makes of a bar is no reason to stop sending.
	_ = p.bar.Set(a.Delivered + a.Failed)
	p.bar.Describe(description)
}

// refresh draws the bar now and then. Attempts alone would leave an old one
// there while all that is left to do is wait.
func (p *sendProgress) refresh() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = p.bar.Add(0)
		case <-p.stop:
			return
		}
	}
}

func (p *sendProgress) end() {
	close(p.stop)
	p.done.Wait()
	_ = p.bar.Clear()
}
