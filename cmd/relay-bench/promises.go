package main

import (
	"fmt"
	"math"
	"strings"
)

// promises are the sentences of other pages that are made of a run, by the names that they have
// there.
func (r *record) promises() map[string]string {
	steady, full, fsynced, one := r.row("200/s", idExternal), r.row("256", idExternal), r.row("256", idAlways), r.row("1", idAlways)
	unloaded, embedded, broker := r.idle(idExternal), r.idle(idAlways), r.idle(idBroker)
	// What an autoscaler at 70 % of 100m lets a relay take, in seconds of CPU a second.
	const scaled = 0.07
	return map[string]string{
		"cheap": fmt.Sprintf("with an external broker %s %% of a core and %s MiB of private memory while it idles, %s %% and %s MiB at 200 webhooks a second, more than an account of APIXO may ask for",
			digits(unloaded.CPU), whole(unloaded.Anon), whole(steady.CPU*200/1e4), whole(steady.Anon)),
		"fast": fmt.Sprintf("%s webhooks a second with an external broker, %s %% of what a bare `net/http` handler answers there, %s with the embedded one, fsynced before the answer: 256 connections, two cores that load, relay and broker share",
			hundreds(full.PerSecond), whole(r.ratio("256", idExternal, idFloor).PerSecond*100), hundreds(fsynced.PerSecond)),
		"small": fmt.Sprintf("%s MiB (RSS) while it idles with its own broker, ready %s ms after its start, a binary of %s MiB",
			whole(embedded.RSS), whole(r.Facts.Ready), digits(r.Facts.BinaryMiB)),
		"embedded": fmt.Sprintf("%s webhooks/s one after the other, %s from 256 connections; %s µs of CPU each at 200/s, %s at full load",
			hundreds(one.PerSecond), hundreds(fsynced.PerSecond), whole(r.row("200/s", idAlways).CPU), whole(fsynced.CPU)),
		"external": fmt.Sprintf("%s/s from 256 connections; %s µs of CPU each in the relay, %s in the server",
			hundreds(full.PerSecond), whole(full.CPU), whole(full.BrokerCPU)),
		"stream": fmt.Sprintf("at most %s,000/s (1 s / %s µs)", whole(number(math.Round(1e3/float64(full.BrokerCPU)))), whole(full.BrokerCPU)),
		"webhook": fmt.Sprintf("%s µs a webhook at full load, %s µs one by one at 200/s; %s and %s µs with the broker inside",
			whole(full.CPU), whole(steady.CPU), whole(fsynced.CPU), whole(r.row("200/s", idAlways).CPU)),
		"autoscaler": fmt.Sprintf("70 ms of CPU a second: some %s webhooks a second for each that come one by one, and up to %s where they come at once (computed from the above)",
			hundreds(number(scaled*1e6/float64(steady.CPU))), hundreds(number(scaled*1e6/float64(full.CPU)))),
		"idle": fmt.Sprintf("%s %% of one core with an external broker, and %s %% with the embedded one. nats-server alone takes %s %% when it has two streams",
			digits(unloaded.CPU), digits(embedded.CPU), digits(broker.CPU)),
		"memory": fmt.Sprintf("%s MiB before the first webhook, %s MiB after 200 webhooks/s", whole(unloaded.Anon), whole(steady.Anon)),
		"accounts": fmt.Sprintf("%.0f such accounts (computed: %s / 167)",
			math.Floor(float64(fsynced.PerSecond)/167/10)*10, hundreds(fsynced.PerSecond)),
	}
}

// hundreds rounds to hundreds.
func hundreds(n number) string { return whole(number(math.Round(float64(n)/100) * 100)) }

// insert puts the promises into a page, each between <!-- bench NAME --> and <!-- /bench -->.
func (r *record) insert(page string, names ...string) (string, error) {
	promises := r.promises()
	for _, name := range names {
		begin := "<!-- bench " + name + " -->"
		before, rest, ok := strings.Cut(page, begin)
		_, after, ok2 := strings.Cut(rest, "<!-- /bench -->")
		if !ok || !ok2 {
			return "", fmt.Errorf("there is no place %s…<!-- /bench -->", begin)
		}
		page = before + begin + promises[name] + "<!-- /bench -->" + after
	}
	return page, nil
}
