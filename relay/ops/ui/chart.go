package ui

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/ui/feed"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

// The charts' place in their view box, in its units.
const (
	chartTop, chartBottom = 8.0, 148.0
	chartRight            = 720.0
	eventsLeft, lagLeft   = 36.0, 60.0
)

// chart is what its template draws.
type chart struct {
	// Text says for who cannot see it what it shows.
	Text  string
	Bars  []bar
	Grid  []gridLine
	Ticks []tick
	// Of the chart of events:
	Success, Failed, Quarantined int
}

type bar struct {
	X, Y, Width, Height string
	Class, Text         string
}

type gridLine struct{ Y, Label string }

type tick struct{ X, Anchor, Label string }

func coordinate(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

// scale is the least of 1, 2, 5, 10, 20 … that is not below most.
func scale(most float64) float64 {
	if most <= 1 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if most <= factor*unit {
			return factor * unit
		}
	}
	return 10 * unit
}

// column returns where the bar of a minute is.
func column(i, n int, left float64) (x, width float64) {
	width = (chartRight - left) / float64(max(n, 1))
	return left + float64(i)*width, width * 0.8
}

// timeTicks label the beginning, the middle and the end.
func timeTicks(minutes []feed.Minute, left float64) (ticks []tick) {
	n := len(minutes)
	if n == 0 {
		return nil
	}
	label := func(i int) string { return minutes[i].At.Local().Format("15:04") }
	return []tick{
		{coordinate(left), "start", label(0)},
		{coordinate((left + chartRight) / 2), "middle", label(n / 2)},
		{coordinate(chartRight), "end", "now"},
	}
}

// eventsChart draws how many events were stored in each minute, by state.
func eventsChart(minutes []feed.Minute) chart {
	var c chart
	most := 0
	for _, m := range minutes {
		quarantined := m.Rejected + m.Conflict + m.Missing
		c.Success, c.Failed, c.Quarantined = c.Success+m.Success, c.Failed+m.Failed, c.Quarantined+quarantined
		most = max(most, m.Success+m.Failed+quarantined)
	}
	top := scale(float64(most))
	for _, share := range []float64{0, 0.5, 1} {
		if v := share * top; v == math.Trunc(v) {
			c.Grid = append(c.Grid, gridLine{coordinate(chartBottom - share*(chartBottom-chartTop)), compact(v)})
		}
	}
	for i, m := range minutes {
		x, width := column(i, len(minutes), eventsLeft)
		y := chartBottom
		quarantined := m.Rejected + m.Conflict + m.Missing
		title := fmt.Sprintf("%s: %s success, %s failed, %s quarantined", m.At.Local().Format("15:04"), text.Count(m.Success), text.Count(m.Failed), text.Count(quarantined))
		for _, part := range []struct {
			class string
			n     int
		}{{"success", m.Success}, {"failed", m.Failed}, {"quarantined", quarantined}} {
			if part.n == 0 {
				continue
			}
			height := max(float64(part.n)/top*(chartBottom-chartTop), 1)
			y -= height
			c.Bars = append(c.Bars, bar{coordinate(x), coordinate(y), coordinate(width), coordinate(height), part.class, title})
		}
	}
	c.Ticks = timeTicks(minutes, eventsLeft)
	c.Text = fmt.Sprintf("In the last hour %s events tell a success, %s a failure, and %s deliveries were quarantined; %s in the fullest minute.", text.Count(c.Success), text.Count(c.Failed), text.Count(c.Quarantined), text.Count(most))
	return c
}

// compact writes a number for an axis.
func compact(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', -1, 64) + "M"
	case v >= 1e4:
		return strconv.FormatFloat(v/1e3, 'f', -1, 64) + "k"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// lagTicks are the lags that the axis may have a label for.
var lagTicks = []struct {
	at    time.Duration
	label string
}{
	{10 * time.Millisecond, "10 ms"}, {100 * time.Millisecond, "100 ms"}, {time.Second, "1 s"}, {10 * time.Second, "10 s"}, {time.Minute, "1 min"},
	{10 * time.Minute, "10 min"}, {time.Hour, "1 h"}, {10 * time.Hour, "10 h"}, {24 * time.Hour, "1 d"}, {10 * 24 * time.Hour, "10 d"},
	{100 * 24 * time.Hour, "100 d"}, {1000 * 24 * time.Hour, "1000 d"}, {10000 * 24 * time.Hour, "10000 d"}, {100000 * 24 * time.Hour, "100000 d"},
}

// leastLabelSpace is how far labels of the axis are apart.
const leastLabelSpace = 20.0

// lagChart draws how long after their tasks events were stored. Its scale is one of powers:
// lags are of a second, and after a night without a relay of hours.
func lagChart(minutes []feed.Minute) chart {
	var c chart
	samples := 0
	var longest time.Duration
	for _, m := range minutes {
		longest = max(longest, m.LagMax)
		samples += m.LagSamples
	}
	ticks := lagTicks[:4]
	for n := len(ticks); n <= len(lagTicks); n++ {
		if ticks = lagTicks[:n]; ticks[n-1].at >= longest {
			break
		}
	}
	least, most := ticks[0].at, ticks[len(ticks)-1].at
	height := func(d time.Duration) float64 {
		return math.Log(float64(min(max(d, least), most))/float64(least)) / math.Log(float64(most)/float64(least)) * (chartBottom - chartTop)
	}
	last := math.Inf(1)
	for _, tick := range slices.Backward(ticks) {
		y := height(tick.at)
		if last-y < leastLabelSpace || tick.at != least && y < leastLabelSpace {
			continue
		}
		last = y
		c.Grid = append(c.Grid, gridLine{coordinate(chartBottom - y), tick.label})
	}
	for i, m := range minutes {
		if m.LagSamples == 0 {
			continue
		}
		x, width := column(i, len(minutes), lagLeft)
		title := fmt.Sprintf("%s: median %s, longest %s, of %d samples", m.At.Local().Format("15:04"), text.Duration(m.LagMedian), text.Duration(m.LagMax), m.LagSamples)
		for _, part := range []struct {
			class string
			lag   time.Duration
		}{{"lag-max", m.LagMax}, {"lag-median", m.LagMedian}} {
			h := max(height(part.lag), 1)
			c.Bars = append(c.Bars, bar{coordinate(x), coordinate(chartBottom - h), coordinate(width), coordinate(h), part.class, title})
		}
	}
	c.Ticks = timeTicks(minutes, lagLeft)
	c.Text = "No event of the last hour tells when its task was completed."
	if samples > 0 {
		c.Text = fmt.Sprintf("From the end of a task until its event is stored, in %s samples of the last hour: the longest took %s.", text.Count(samples), text.Duration(longest))
	}
	return c
}
