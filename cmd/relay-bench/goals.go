package main

// goal is a figure that the relay is to reach.
type goal struct {
	What     string `json:"what"`
	AtLeast  bool   `json:"atLeast"` // else at most
	Limit    number `json:"limit"`
	Measured number `json:"measured"`
	Unit     string `json:"unit"`
	Met      *bool  `json:"met"` // null where it was not measured
}

// goals compares what was measured with what it is to be.
func (r *record) goals() []goal {
	const atLeast, atMost = true, false
	external := func(load string) comparison { return r.ratio(load, idExternal, idNaive) }
	always := func(load string) comparison { return r.ratio(load, idAlways, idInterval) }
	earlier := func(load string) comparison { return r.ratio(load, idAlways, idAgainstAlways) }
	goals := []goal{
		{"external broker, 200/s: CPU", atMost, 1, external("200/s").CPU, "× naive", nil},
		{"external broker, 200/s: p50", atMost, 0.95, external("200/s").P50, "× naive", nil},
		{"external broker, 1 connection: CPU", atMost, 0.95, external("1").CPU, "× naive", nil},
		{"external broker, 1 connection: p50", atMost, 0.95, external("1").P50, "× naive", nil},
		{"external broker, 64 connections: CPU", atMost, 0.65, external("64").CPU, "× naive", nil},
		{"external broker, 64 connections: p99", atMost, 1, external("64").P99, "× naive", nil},
		{"external broker, 256 connections: CPU", atMost, 0.75, external("256").CPU, "× naive", nil},
		{"external broker, 256 connections: p99", atMost, 1, external("256").P99, "× naive", nil},
		{"always, 64 connections: webhooks/s", atLeast, 0.55, always("64").PerSecond, "× interval", nil},
		{"always, 64 connections: p99", atMost, 1.5, always("64").P99, "× interval", nil},
		{"always, 256 connections: webhooks/s", atLeast, 0.8, always("256").PerSecond, "× interval", nil},
		{"always, 256 connections: p99", atMost, 1.5, always("256").P99, "× interval", nil},
		{"external broker, idle: CPU", atMost, 0.02, r.idle(idExternal).CPU, "% of a core", nil},
		{"always, idle: CPU beyond nats-server's", atMost, 0.02, r.idle(idAlways).CPU - r.idle(idBroker).CPU, "% of a core", nil},
		{"external broker, after 200/s: private memory", atMost, 10, r.row("200/s", idExternal).Anon, "MiB", nil},
		{"binary, stripped", atMost, 36, r.Facts.BinaryMiB, "MiB", nil},
	}
	if r.Facts.Against != "" {
		goals = append(goals,
			goal{"always, 1 connection: webhooks/s", atLeast, 1, earlier("1").PerSecond, "× against", nil},
			goal{"always, 8 connections: webhooks/s", atLeast, 1.3, earlier("8").PerSecond, "× against", nil},
			goal{"always, 64 connections: webhooks/s", atLeast, 1.5, earlier("64").PerSecond, "× against", nil},
			goal{"always, 256 connections: webhooks/s", atLeast, 1.1, earlier("256").PerSecond, "× against", nil})
	}
	for i := range goals {
		g := &goals[i]
		if g.Measured.known() {
			met := g.Measured <= g.Limit
			if g.AtLeast {
				met = g.Measured >= g.Limit
			}
			g.Met = &met
		}
	}
	return goals
}

// ratio finds a comparison.
func (r *record) ratio(load, receiver, to string) comparison {
	for _, c := range r.Ratios {
		if c.Load == load && c.Receiver == receiver && c.To == to {
			return c
		}
	}
	return comparison{PerSecond: notMeasured, P50: notMeasured, P99: notMeasured, CPU: notMeasured}
}

func (r *record) row(load, receiver string) row {
	for _, line := range r.Rows {
		if line.Load == load && line.Receiver == receiver {
			return line
		}
	}
	return row{Anon: notMeasured}
}

func (r *record) idle(receiver string) idleRow {
	for _, line := range r.Idle {
		if line.Receiver == receiver {
			return line
		}
	}
	return idleRow{CPU: notMeasured}
}
