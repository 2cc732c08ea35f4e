package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
)

// writeText writes everything for a person to read.
func (r *report) writeText(w io.Writer) error {
	var b strings.Builder
	f := r.facts
	b.WriteString(f.text("between the rounds"))
	fmt.Fprintf(&b, "load     APIXO's example, each time a new task; %s of CPU a request, on the same cores\n", microseconds(f.LoadCPU))
	fmt.Fprintf(&b, "rounds   medians of %s, in turns\n", r.roundsText())
	fmt.Fprintf(&b, "broker   the external one is nats-server %s on this machine, which does not fsync before it acknowledges\n", f.NATSServer)
	b.WriteString("logs     of the relays: level info, JSON, into files on this disk\n\n")
	b.WriteString(r.figures())
	b.WriteString("\nCPU is that of the receiver's own process, user and system, per request. The peak of memory is that\nof a process started for this number of connections; the floor's is mostly this program, which it is.\n\n")
	b.WriteString(r.goalsTable())
	_, err := io.WriteString(w, b.String())
	return err
}

// text is what all reports begin with.
func (f facts) text(fsynced string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apixo-relay %s, built with %s, measured on %s\n\n", f.Relay, f.Go, f.Date)
	fmt.Fprintf(&b, "machine  %s, %s, %s\n", count(f.Cores, "core"), f.CPU, f.Kernel)
	fmt.Fprintf(&b, "disk     %s; appending 1 KiB and fsync: p50 %s ms, p99 %s ms (%d times, %s)\n", f.Filesystem, digits(f.FsyncP50), digits(f.FsyncP99), f.Fsyncs, fsynced)
	if inMemory(f.Filesystem) {
		b.WriteString("         this is no disk, and fsync costs nothing here: choose one with --dir\n")
	}
	return b.String()
}

// figures is the table of what was measured, and below it what failed.
func (r *report) figures() string {
	t := table{{"connections", "receiver", "requests/s", "× floor", "p50 ms", "p99 ms", "CPU µs", "× floor", "peak MiB"}}
	var failures strings.Builder
	connections := 0
	for _, line := range r.rows() {
		first := ""
		if line.Connections != connections {
			connections = line.Connections
			first = strconv.Itoa(connections)
			t = append(t, nil)
		}
		name := line.name
		if line.Failed > 0 {
			name += " !"
			fmt.Fprintf(&failures, "! %s, %s: %d of %d webhooks failed\n", line.name, count(line.Connections, "connection"), line.Failed, line.Failed+line.Stored)
			for _, why := range slices.Sorted(maps.Keys(line.Failures)) {
				fmt.Fprintf(&failures, "    %d × %s\n", line.Failures[why], why)
			}
		}
		t = append(t, []string{
			first, name, whole(line.PerSecond), digits(line.ToFloor.PerSecond), digits(line.P50), digits(line.P99),
			digits(line.CPU), digits(line.ToFloor.CPU), decimal(line.PeakMemory),
		})
		if line.BrokerCPU.known() {
			t = append(t, []string{"", "  and its broker", "", "", "", "", digits(line.BrokerCPU), "", ""})
		}
	}
	text := t.text("rl")
	if failures.Len() > 0 {
		text += "\n" + failures.String()
	}
	return text
}

func (r *report) goalsTable() string {
	t := table{{"target", "", "measured", ""}, nil}
	for _, g := range r.goals() {
		sign, verdict := "≤", "not measured"
		if g.AtLeast {
			sign = "≥"
		}
		measured := "–"
		if g.Met != nil {
			verdict, measured = "not met", digits(g.Measured)+" "+g.Unit
			if *g.Met {
				verdict = "met"
			}
		}
		t = append(t, []string{g.What, fmt.Sprintf("%s %v %s", sign, g.Limit, g.Unit), measured, verdict})
	}
	return t.text("llll")
}

// table is lines of cells. A line without cells is a rule.
type table [][]string

// text aligns the columns, each to the left or right as align says, and those
// that it does not name to the right.
func (t table) text(align string) string {
	widths := make([]int, len(t[0]))
	for _, line := range t {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, line := range t {
		var out strings.Builder
		for i, width := range widths {
			cell, fill := "", " "
			if line == nil {
				fill = "─"
			} else {
				cell = line[i]
			}
			pad := strings.Repeat(fill, width-utf8.RuneCountInString(cell))
			if i < len(align) && align[i] == 'l' {
				cell += pad
			} else {
				cell = pad + cell
			}
			if i > 0 {
				out.WriteString(strings.Repeat(fill, 2))
			}
			out.WriteString(cell)
		}
		b.WriteString(strings.TrimRight(out.String(), " ") + "\n")
	}
	return b.String()
}

// digits writes a number with three of them, if it is not larger.
func digits(n number) string {
	decimals := 0
	switch {
	case !n.known():
		return "–"
	case n < 1:
		decimals = 3
	case n < 10:
		decimals = 2
	case n < 100:
		decimals = 1
	}
	return strconv.FormatFloat(float64(n), 'f', decimals, 64)
}

// microseconds is a number with its unit, as words in a sentence.
func microseconds(n number) string {
	if !n.known() {
		return "an unknown number of µs"
	}
	return digits(n) + " µs"
}

// count is a number of things.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

func (r *report) roundsText() string {
	return count(r.options.rounds, "round") + " of " + r.options.duration.String()
}

func decimal(n number) string {
	if !n.known() {
		return "–"
	}
	return strconv.FormatFloat(float64(n), 'f', 1, 64)
}

// whole writes a number with a comma before each three digits.
func whole(n number) string {
	if !n.known() {
		return "–"
	}
	text := strconv.FormatFloat(float64(n), 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

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
