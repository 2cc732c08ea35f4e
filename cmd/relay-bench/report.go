package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// number is a figure, or not a number where it could not be measured, which
// JSON calls null.
type number float64

var notMeasured = number(math.NaN())

func (n number) known() bool { return !math.IsNaN(float64(n)) }

// MarshalJSON writes what is significant: six digits after the point.
func (n number) MarshalJSON() ([]byte, error) {
	if !n.known() || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(math.Round(float64(n)*1e6) / 1e6)
}

// UnmarshalJSON reads what MarshalJSON has written.
func (n *number) UnmarshalJSON(text []byte) error {
	*n = notMeasured
	if string(text) == "null" {
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

// milliseconds is a duration as a number.
func milliseconds(d time.Duration) number { return number(d.Seconds() * 1000) }

// percentile sorts the samples, which are durations or microseconds, and takes
// the one that at least so many percent of them do not exceed; 0 of none.
func percentile[T uint32 | time.Duration](samples []T, percent int) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	sample := samples[max(1, (percent*len(samples)+99)/100)-1]
	if us, ok := any(sample).(uint32); ok {
		return time.Duration(us) * time.Microsecond
	}
	return time.Duration(sample)
}

// median is that of the numbers that are known.
func median(numbers []number) number {
	numbers = slices.DeleteFunc(slices.Clone(numbers), func(n number) bool { return !n.known() })
	if len(numbers) == 0 {
		return notMeasured
	}
	slices.Sort(numbers)
	middle := len(numbers) / 2
	if len(numbers)%2 == 0 {
		return (numbers[middle-1] + numbers[middle]) / 2
	}
	return numbers[middle]
}

// figure is one of the numbers of a round.
type figure func(round) number

func perSecond(r round) number { return r.perSecond }
func p50(r round) number       { return r.p50 }
func p99(r round) number       { return r.p99 }
func cpu(r round) number       { return r.cpu }
func brokerCPU(r round) number { return r.brokerCPU }

// of is the median of a figure over the rounds.
func (f figure) of(r *receiver) number {
	var all []number
	for _, round := range r.rounds {
		all = append(all, f(round))
	}
	return median(all)
}

// ratio is the median of how a figure compares to another receiver's in the same
// round.
func (f figure) ratio(r, to *receiver) number {
	var all []number
	for i := range min(len(r.rounds), len(to.rounds)) {
		if base := f(to.rounds[i]); base != 0 {
			all = append(all, f(r.rounds[i])/base)
		}
	}
	return median(all)
}

// record is all that is said of a run. Tables, the README and its picture are made
// of it and of nothing else.
type record struct {
	Facts           facts        `json:"facts"`
	Rounds          int          `json:"rounds"`
	DurationSeconds number       `json:"durationSeconds"` // of a round
	IdleSeconds     number       `json:"idleSeconds"`
	Targets         []goal       `json:"targets"`
	Ratios          []comparison `json:"ratios"`
	Rows            []row        `json:"rows"`
	Idle            []idleRow    `json:"idle"`
}

// comparison is how a receiver compares to another, as medians of ratios within
// rounds.
type comparison struct {
	Load      string `json:"load"` // connections of a closed loop, or the rate of an open one
	Receiver  string `json:"receiver"`
	To        string `json:"to"`
	PerSecond number `json:"perSecond"`
	P50       number `json:"p50"`
	P99       number `json:"p99"`
	CPU       number `json:"cpu"`
}

// row is what is said of one receiver under one load.
type row struct {
	Load      string         `json:"load"`
	Receiver  string         `json:"receiver"`
	Name      string         `json:"name"`
	Stored    int            `json:"stored"` // webhooks, in all rounds
	Failed    int            `json:"failed"`
	Failures  map[string]int `json:"failures,omitempty"` // why, and how often
	PerSecond number         `json:"perSecond"`
	P50       number         `json:"p50Milliseconds"`
	P99       number         `json:"p99Milliseconds"`
	CPU       number         `json:"cpuMicroseconds"` // for each webhook, and so the next
	BrokerCPU number         `json:"brokerCpuMicroseconds"`
	Anon      number         `json:"rssAnonMebibytes"` // afterwards
}

// idleRow is what a process takes that has nothing to do.
type idleRow struct {
	Receiver string `json:"receiver"`
	Name     string `json:"name"`
	CPU      number `json:"cpuPercentOfCore"`
	Anon     number `json:"rssAnonMebibytes"`
	RSS      number `json:"rssMebibytes"`
}

// compared are the receivers of which ratios are made, and to which.
var compared = [][2]string{
	{idExternal, idNaive}, {idExternal, idFloor}, {idAlways, idInterval},
	{idExternal, idAgainstExternal}, {idAlways, idAgainstAlways},
}

// take records what was measured under a load.
func (r *record) take(load string, receivers []*receiver) {
	byID := make(map[string]*receiver)
	for _, one := range receivers {
		byID[one.id] = one
		line := row{
			Load: load, Receiver: one.id, Name: one.name, Failures: make(map[string]int),
			PerSecond: figure(perSecond).of(one), P50: figure(p50).of(one), P99: figure(p99).of(one),
			CPU: figure(cpu).of(one), BrokerCPU: figure(brokerCPU).of(one), Anon: notMeasured,
		}
		for _, round := range one.rounds {
			line.Anon = round.anon // in the end that of the last
			line.Stored += round.stored
			for why, n := range round.failures {
				line.Failed += n
				line.Failures[why] += n
			}
		}
		r.Rows = append(r.Rows, line)
	}
	for _, pair := range compared {
		if one, to := byID[pair[0]], byID[pair[1]]; one != nil && to != nil {
			r.Ratios = append(r.Ratios, comparison{
				load, one.id, to.id,
				figure(perSecond).ratio(one, to), figure(p50).ratio(one, to), figure(p99).ratio(one, to), figure(cpu).ratio(one, to),
			})
		}
	}
}

// failed is how many webhooks were not answered as they should.
func (r *record) failed() (n int) {
	for _, line := range r.Rows {
		n += line.Failed
	}
	return n
}

// writeJSON writes everything for a script.
func (r *record) writeJSON(w io.Writer) error { return encode(w, r) }

func encode(w io.Writer, report any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(report); err != nil {
		return fmt.Errorf("as JSON: %w", err)
	}
	return nil
}

// facts are what figures depend on.
type facts struct {
	Date       string `json:"date"`
	Relay      string `json:"relay"` // version
	Against    string `json:"against,omitempty"`
	Go         string `json:"go"` // that built it
	NATSServer string `json:"natsServer"`
	Cores      int    `json:"cores"`
	CPU        string `json:"cpu"`
	Kernel     string `json:"kernel"`
	Filesystem string `json:"filesystem"`
	Fsyncs     int    `json:"fsyncs"` // how many were measured
	FsyncP50   number `json:"fsyncP50Milliseconds"`
	FsyncP99   number `json:"fsyncP99Milliseconds"`
	LoadCPU    number `json:"loadGeneratorCpuMicroseconds"` // for each webhook
	BinaryMiB  number `json:"binaryMebibytes"`
	Ready      number `json:"startToReadyMilliseconds"` // embedded, on an empty folder
}

func gather(program, dir, version string, fsyncs []time.Duration, load []number) (facts, error) {
	info, err := os.Stat(program)
	if err != nil {
		return facts{}, err
	}
	built := "unknown version of Go"
	if b, err := buildinfo.ReadFile(program); err == nil {
		built = b.GoVersion
	}
	return facts{
		Date: time.Now().UTC().Format(time.DateOnly), Relay: version, Go: built, NATSServer: server.VERSION,
		Cores: runtime.NumCPU(), CPU: cpuModel(), Kernel: kernel(), Filesystem: filesystem(dir),
		Fsyncs: len(fsyncs), FsyncP50: milliseconds(percentile(fsyncs, 50)), FsyncP99: milliseconds(percentile(fsyncs, 99)),
		LoadCPU: median(load), BinaryMiB: number(info.Size()) / (1 << 20), Ready: notMeasured,
	}, nil
}
