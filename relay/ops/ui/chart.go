package ui

import (
	"fmt"
	"math"
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

// lagChart draws how long after their tasks events were stored. Its scale is one of powers:
// lags are of a second, and after a night without a relay of hours.
func lagChart(minutes []feed.Minute) chart {
	var c chart
	const least = 10 * time.Millisecond
	most, samples := 10*time.Second, 0
	var longest time.Duration
	for _, m := range minutes {
		most, longest = max(most, m.LagMax), max(longest, m.LagMax)
		samples += m.LagSamples
	}
	decades := math.Ceil(math.Log10(float64(most) / float64(least)))
	height := func(d time.Duration) float64 {
		if d <= least {
			return 1
		}
		return max(math.Log10(float64(d)/float64(least))/decades*(chartBottom-chartTop), 1)
	}
	for i := 0.0; i <= decades; i++ {
		d := time.Duration(float64(least) * math.Pow(10, i))
		c.Grid = append(c.Grid, gridLine{coordinate(chartBottom - i/decades*(chartBottom-chartTop)), lagLabel(d)})
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
			h := height(part.lag)
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

// lagLabel writes a power of ten as people do.
func lagLabel(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 1000*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
	case d < 100*time.Hour:
		return strconv.FormatFloat(math.Round(d.Hours()*10)/10, 'f', -1, 64) + " h"
	}
	return strconv.FormatFloat(math.Round(d.Hours()/24), 'f', -1, 64) + " d"
}
