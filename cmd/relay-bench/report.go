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

// report is all that was measured.
type report struct {
	options  options
	facts    facts
	version  string // of the relay
	fsyncs   []time.Duration
	startups []number // milliseconds
	results  []result // by number of connections
}

// result is what was measured at one number of connections, the floor first.
type result struct {
	connections int
	receivers   []*receiver
}

// facts are what figures depend on.
type facts struct {
	Date       string `json:"date"`
	Relay      string `json:"relay"` // version
	Go         string `json:"go"`    // that built it
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
}

// describe gathers the facts.
func (r *report) describe(program, dir string) (err error) {
	var load []number
	for _, result := range r.results {
		for _, one := range result.receivers {
			for _, round := range one.rounds {
				load = append(load, round.loadCPU)
			}
		}
	}
	r.facts, err = gather(program, dir, r.version, r.fsyncs, load)
	return err
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
		LoadCPU: median(load), BinaryMiB: number(info.Size()) / (1 << 20),
	}, nil
}

// row is what is said of one receiver at one number of connections.
type row struct {
	Connections int            `json:"connections"`
	Receiver    string         `json:"receiver"`
	Stored      int            `json:"stored"` // webhooks, in all rounds
	Failed      int            `json:"failed"`
	Failures    map[string]int `json:"failures,omitempty"` // why, and how often
	PerSecond   number         `json:"requestsPerSecond"`
	P50         number         `json:"p50Milliseconds"`
	P99         number         `json:"p99Milliseconds"`
	CPU         number         `json:"cpuMicroseconds"` // for each webhook, and so the next
	BrokerCPU   number         `json:"brokerCpuMicroseconds"`
	PeakMemory  number         `json:"peakMemoryMebibytes"`
	IdleMemory  number         `json:"idleMemoryMebibytes"`
	ToFloor     ratios         `json:"toFloor"`

	name string
}

// ratios are a row's figures divided by the floor's.
type ratios struct {
	PerSecond number `json:"requestsPerSecond"`
	P50       number `json:"p50"`
	P99       number `json:"p99"`
	CPU       number `json:"cpu"`
}

func (r *report) rows() []row {
	var rows []row
	for _, result := range r.results {
		floor := result.receivers[0]
		for _, one := range result.receivers {
			line := row{
				Connections: result.connections, Receiver: one.id, name: one.name, Failures: make(map[string]int),
				PerSecond: figure(perSecond).of(one), P50: figure(p50).of(one), P99: figure(p99).of(one),
				CPU: figure(cpu).of(one), BrokerCPU: figure(brokerCPU).of(one), PeakMemory: one.peak, IdleMemory: one.idle,
				ToFloor: ratios{figure(perSecond).ratio(one, floor), figure(p50).ratio(one, floor), figure(p99).ratio(one, floor), figure(cpu).ratio(one, floor)},
			}
			for _, round := range one.rounds {
				line.Stored += round.stored
				line.Failed += round.failed
				for why, n := range round.failures {
					line.Failures[why] += n
				}
			}
			rows = append(rows, line)
		}
	}
	return rows
}

// failed is how many webhooks were not answered as they should.
func (r *report) failed() (n int) {
	for _, line := range r.rows() {
		n += line.Failed
	}
	return n
}

// receiver finds one by its id; nil where that was not measured.
func (r *report) receiver(id string, connections int) *receiver {
	for _, result := range r.results {
		for _, one := range result.receivers {
			if one.id == id && result.connections == connections {
				return one
			}
		}
	}
	return nil
}

// writeJSON writes everything for a script.
func (r *report) writeJSON(w io.Writer) error {
	return encode(w, struct {
		Facts           facts  `json:"facts"`
		Rounds          int    `json:"rounds"`
		DurationSeconds number `json:"durationSeconds"`
		Results         []row  `json:"results"`
		Targets         []goal `json:"targets"`
	}{r.facts, r.options.rounds, number(r.options.duration.Seconds()), r.rows(), r.goals()})
}

func encode(w io.Writer, report any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(report); err != nil {
		return fmt.Errorf("as JSON: %w", err)
	}
	return nil
}
