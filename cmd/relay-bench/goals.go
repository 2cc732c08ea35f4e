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
func (r *report) goals() []goal {
	const atLeast, atMost = true, false
	goals := []goal{
		{"CPU, external broker, 64 connections", atMost, 2, r.compare(cpu, idExternal, idFloor, 64), "× floor", nil},
		{"requests/s, embedded always, 256 connections", atLeast, 0.75, r.compare(perSecond, idAlways, idInterval, 256), "× interval", nil},
		{"p99, embedded always, 256 connections", atMost, 2, r.compare(p99, idAlways, idInterval, 256), "× interval", nil},
		{"p50 beyond one fsync, embedded always, 1 connection", atMost, 0.3, r.beyondFsync(), "ms", nil},
		{"peak memory, external broker, 256 connections", atMost, 40, r.peak(idExternal, 256), "MiB", nil},
		{"idle memory, embedded", atMost, 25, r.idle(), "MiB", nil},
		{"binary, stripped", atMost, 25, r.facts.BinaryMiB, "MiB", nil},
		{"start to ready, embedded, empty folder", atMost, 150, median(r.startups), "ms", nil},
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

func (r *report) compare(f figure, id, to string, connections int) number {
	one, other := r.receiver(id, connections), r.receiver(to, connections)
	if one == nil || other == nil {
		return notMeasured
	}
	return f.ratio(one, other)
}

// beyondFsync is how much longer than an fsync, measured right before, an answer
// takes.
func (r *report) beyondFsync() number {
	one := r.receiver(idAlways, 1)
	if one == nil {
		return notMeasured
	}
	return figure(func(r round) number { return r.p50 - r.fsync }).of(one)
}

func (r *report) peak(id string, connections int) number {
	if one := r.receiver(id, connections); one != nil {
		return one.peak
	}
	return notMeasured
}

// idle is the highest of all starts.
func (r *report) idle() number {
	highest := notMeasured
	for _, result := range r.results {
		for _, one := range result.receivers {
			if one.id == idAlways && !(highest >= one.idle) {
				highest = one.idle
			}
		}
	}
	return highest
}
