package main

import (
	"fmt"
	"io"
	"strings"
)

// writeText writes everything for a person to read.
func (g *growth) writeText(w io.Writer) error {
	var b strings.Builder
	o := g.options
	b.WriteString(g.Facts.text("before the load"))
	fmt.Fprintf(&b, "load     APIXO's example, each time a new task, over %s; %s of CPU a request, on the same cores\n", count(o.connections, "connection"), microseconds(g.Facts.LoadCPU))
	fmt.Fprintf(&b, "relay    embedded broker, fsync %s, duplicate window %v; its log at level info, JSON, into a file on this disk\n\n", o.sync, o.window)

	t := table{{"stored", "in window", "requests/s", "p99 ms", "CPU µs", "RSS MiB", "anon. MiB", "heap MiB", "disk MiB", "bytes/event"}, nil}
	for _, s := range g.Sections {
		t = append(t, []string{
			whole(number(s.Stored)), whole(number(s.InWindow)), whole(s.PerSecond), digits(s.P99), digits(s.CPU),
			decimal(s.RSS), decimal(s.Anon), decimal(s.Heap), whole(s.Store), whole(s.StorePerEvent),
		})
	}
	b.WriteString(t.text("r"))
	fmt.Fprintf(&b, "\nCPU is that of the relay and the broker in it, user and system, for each event of the section; in the last\nit is %s times that of the second tenth. Memory is as at the end of the section, heap the least during it,\nof samples twice a second.\n\n", digits(g.drift()))

	t = table{{"start on this store", "in window", "stop ms", "ready ms", "CPU ms", "RSS MiB", "anon. MiB", "settled heap MiB", "stored"}, nil}
	for _, s := range g.Starts {
		t = append(t, []string{
			s.Name, whole(number(s.InWindow)), digits(s.Stop), digits(s.Ready), digits(s.CPU),
			decimal(s.RSS), decimal(s.Anon), decimal(s.Heap), whole(number(s.Stored)),
		})
	}
	b.WriteString(t.text("l"))
	bytes, ready, cpu := g.cost()
	if bytes.known() {
		fmt.Fprintf(&b, "\nAn id in the window costs %s bytes of memory, and a million of them %s ms of each start (%s ms of CPU):\n", digits(bytes), digits(ready), digits(cpu))
		b.WriteString("the difference between the last two lines. The heap is that after two garbage collections.\n")
	} else {
		b.WriteString("\nWhat an id in the window costs cannot be told: some left it meanwhile, or there were few. Choose a --window longer than the run, or more --events.\n")
	}
	for _, problem := range g.Problems {
		fmt.Fprintf(&b, "! %s\n", problem)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeJSON writes everything for a script.
func (g *growth) writeJSON(w io.Writer) error {
	type perID struct {
		Bytes number `json:"bytesPerId"`
		Ready number `json:"readyMillisecondsPerMillionIds"`
		CPU   number `json:"cpuMillisecondsPerMillionIds"`
	}
	var cost perID
	cost.Bytes, cost.Ready, cost.CPU = g.cost()
	return encode(w, struct {
		*growth
		Events      int    `json:"events"`
		Window      number `json:"windowSeconds"`
		Connections int    `json:"connections"`
		Sync        string `json:"sync"`
		Cost        perID  `json:"costOfWindow"`
		Drift       number `json:"cpuLastToSecondTenth"`
	}{g, g.options.events, number(g.options.window.Seconds()), g.options.connections, g.options.sync, cost, g.drift()})
}
