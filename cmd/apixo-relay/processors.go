package main

import (
	"os"
	"runtime"
)

const (
	// manyWebhooks in flight at once are more than one processor is for, and with
	// fewWebhooks it is enough again.
	manyWebhooks = 32
	fewWebhooks  = manyWebhooks / 2
)

// processors is how many of the machine's processors the program runs on at once: one,
// unless many webhooks are in flight. A webhook waits for the network most of the time,
// and is handed from one goroutine to the next on the way. With more than one processor
// Go wakes another one up for each of these steps, and that takes longer than the step.
//
// It is not for a relay with a store of its own, whose writes and fsyncs would hold the
// one processor up.
type processors struct {
	many bool
	set  func(many bool)
}

// tuneProcessors begins with one, and looks after each collection of garbage, of which
// many webhooks cause many. GOMAXPROCS, if it is set, has the last word.
func tuneProcessors(webhooks func() int64) {
	if os.Getenv("GOMAXPROCS") != "" {
		return
	}
	runtime.GOMAXPROCS(1)
	p := &processors{set: func(many bool) {
		if many {
			runtime.SetDefaultGOMAXPROCS()
		} else {
			runtime.GOMAXPROCS(1)
		}
	}}
	afterEachCollection(func() { p.tune(webhooks()) })
}

// tune fits them to the number of webhooks in flight. Each change stops the world for a
// moment.
func (p *processors) tune(webhooks int64) {
	many := webhooks > manyWebhooks || p.many && webhooks > fewWebhooks
	if many != p.many {
		p.many = many
		p.set(many)
	}
}
