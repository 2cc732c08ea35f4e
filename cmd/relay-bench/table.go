package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// writeText writes everything for a person to read, ratios first.
func (r *record) writeText(w io.Writer) error {
	var b strings.Builder
	f := r.Facts
	if f.Against != "" {
		fmt.Fprintf(&b, "against  apixo-relay %s\n", f.Against)
	}
	fmt.Fprintf(&b, "load     APIXO's example, each time a new task; %s of CPU a webhook, on the same cores\n", microseconds(f.LoadCPU))
	fmt.Fprintf(&b, "rounds   medians of %s, in turns; ratios are made within rounds\n", r.roundsText())
	fmt.Fprintf(&b, "broker   external ones are nats-server %s on this machine, which does not fsync before it acknowledges\n", f.NATSServer)
	b.WriteString("logs     of the relays: level info, JSON, into files on this disk; of the naive handler: none\n\n")
	for _, part := range []string{
		r.ratiosTable().text("lll"), r.goalsTable().text("llll"), r.figuresTable().text("ll"), r.failuresText(), r.idleTable().text("l"),
		fmt.Sprintf("start to ready %s ms (embedded, empty folder); binary %s MiB\n", digits(f.Ready), digits(f.BinaryMiB)),
		"CPU is that of the receiver's own process, user and system, for each webhook; memory is private (RssAnon),\nright after the last round.\n",
	} {
		if part != "" {
			b.WriteString(part + "\n")
		}
	}
	_, err := io.WriteString(w, f.text("between the rounds")+strings.TrimSuffix(b.String(), "\n"))
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

// names of receivers in comparisons.
var names = map[string]string{
	idExternal: "external broker", idNaive: "naive handler", idFloor: "floor", idAlways: "embedded, always", idInterval: "interval",
	idAgainstExternal: "against's", idAgainstAlways: "against's",
}

// loadText says what a load is.
func loadText(load string) string {
	if n, err := strconv.Atoi(load); err == nil {
		return count(n, "connection")
	}
	return load
}

// ratiosTable is how receivers compare, pair by pair.
func (r *record) ratiosTable() table {
	t := table{{"receiver", "compared to", "load", "webhooks/s", "p50", "p99", "CPU"}}
	for _, pair := range compared {
		receiver, to := names[pair[0]], names[pair[1]]
		for _, c := range r.Ratios {
			if c.Receiver == pair[0] && c.To == pair[1] {
				if receiver != "" {
					t = append(t, nil)
				}
				t = append(t, []string{receiver, to, loadText(c.Load), ratio(c.PerSecond), ratio(c.P50), ratio(c.P99), ratio(c.CPU)})
				receiver, to = "", "" // said once
			}
		}
	}
	return t
}

// figuresTable is what was measured, load by load.
func (r *record) figuresTable() table {
	t := table{{"load", "receiver", "webhooks/s", "p50 ms", "p99 ms", "CPU µs", "its broker's", "memory MiB"}}
	load := ""
	for _, line := range r.Rows {
		first := ""
		if line.Load != load {
			load = line.Load
			first = loadText(load)
			t = append(t, nil)
		}
		name := line.Name
		if line.Failed > 0 {
			name += " !"
		}
		t = append(t, []string{
			first, name, whole(line.PerSecond), digits(line.P50), digits(line.P99), digits(line.CPU), digits(line.BrokerCPU), decimal(line.Anon),
		})
	}
	return t
}

// failuresText is what failed, and why.
func (r *record) failuresText() string {
	var b strings.Builder
	for _, line := range r.Rows {
		if line.Failed > 0 {
			fmt.Fprintf(&b, "! %s, %s: %d of %d webhooks failed\n", line.Name, loadText(line.Load), line.Failed, line.Failed+line.Stored)
		}
		for _, why := range slices.Sorted(maps.Keys(line.Failures)) {
			fmt.Fprintf(&b, "    %d × %s\n", line.Failures[why], why)
		}
	}
	return b.String()
}

func (r *record) idleTable() table {
	if len(r.Idle) == 0 {
		return nil
	}
	t := table{{"idle", "CPU, % of a core", "memory MiB", "RSS MiB"}, nil}
	for _, line := range r.Idle {
		t = append(t, []string{line.Name, digits(line.CPU), decimal(line.Anon), decimal(line.RSS)})
	}
	return t
}

func (r *record) goalsTable() table {
	t := table{{"target", "", "measured", ""}, nil}
	for _, g := range r.Targets {
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
	return t
}

// table is lines of cells. A line without cells is a rule.
type table [][]string

// text aligns the columns, each to the left or right as align says, and those
// that it does not name to the right.
func (t table) text(align string) string {
	if len(t) == 0 {
		return ""
	}
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

// markdown is the same for a README. Cells that are empty to say a thing once say it
// again.
func (t table) markdown() string {
	var b strings.Builder
	var last []string
	for i, line := range t {
		if line == nil {
			continue
		}
		line = slices.Clone(line)
		for j := range line {
			if i > 0 && j < 2 && line[j] == "" && last != nil {
				line[j] = last[j]
			}
		}
		if i > 0 {
			last = line
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(line)) + "|\n")
		}
	}
	return b.String()
}

// readme is what the README says of a run.
func (r *record) readme() string {
	f := r.Facts
	var b strings.Builder
	fmt.Fprintf(&b, "\nMeasured on %s with %s, %s (%s), which load, receivers and brokers share; %s, fsync p50 %s ms; apixo-relay %s, %s, nats-server %s; medians of %s.\n\n",
		f.Date, count(f.Cores, "core"), f.CPU, f.system(), f.Filesystem, digits(f.FsyncP50), f.Relay, f.Go, f.NATSServer, r.roundsText())
	fmt.Fprintf(&b, "Ratios, made within rounds:\n\n%s\nFigures; CPU of the receiver's own process, µs a webhook, an embedded broker included; private memory (`RssAnon`) right afterwards:\n\n%s\n", r.ratiosTable().markdown(), r.figuresTable().markdown())
	fmt.Fprintf(&b, "Left alone for %v:\n\n%s\nThe relay with its embedded broker is ready %s ms after its start on an empty folder; its binary, stripped, has %s MiB.\n",
		time.Duration(float64(r.IdleSeconds)*float64(time.Second)), r.idleTable().markdown(), digits(f.Ready), digits(f.BinaryMiB))
	return b.String()
}

// ratio writes one with its sign.
func ratio(n number) string {
	if !n.known() {
		return "–"
	}
	return digits(n) + " ×"
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

func (r *record) roundsText() string {
	return fmt.Sprintf("%s of %v s", count(r.Rounds, "round"), r.DurationSeconds)
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
