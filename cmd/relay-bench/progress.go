package main

import (
	"fmt"
	"io"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar on a terminal, and nothing elsewhere, where it is nil.
type progress struct{ bar *progressbar.ProgressBar }

func progressOn(stderr io.Writer, steps int) *progress {
	if !isTerminal(stderr) {
		return nil
	}
	return &progress{progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(stderr),
		progressbar.OptionSetWidth(20),
		progressbar.OptionClearOnFinish(),
	)}
}

// say tells what begins now.
func (p *progress) say(what string) {
	if p != nil {
		p.bar.Describe(fmt.Sprintf("%-52s", what)) // so that the bar stays where it is
	}
}

// step tells that a turn is over.
func (p *progress) step() {
	if p != nil {
		_ = p.bar.Add(1) // what a terminal makes of it is no reason to stop
	}
}

func (p *progress) end() {
	if p != nil {
		_ = p.bar.Clear()
	}
}
