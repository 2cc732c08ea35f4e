package monitoring

import (
	"bytes"
	"fmt"
	"html"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// The picture is Grafana's grid of 24 columns, drawn by these few lines: what the
// dashboard's queries found, and not what Grafana looks like.
const (
	column    = 50.0
	headline  = 34.0
	small     = 78.0  // the height of a panel with a number
	medium    = 110.0 // with states
	large     = 190.0
	textColor = "#24292f"
	paleColor = "#8c959f"
)

// palette is for lines that have no colour of their own.
var palette = []string{"#3274d9", "#e0752d", "#37872d", "#8f3bb8", "#c4162a", "#b58900"}

// named are the colours that the dashboard names.
var named = map[string]string{
	"green": "#56a64b", "yellow": "#f2cc0c", "orange": "#ff780a", "red": "#e02f44", "blue": "#3274d9",
	"published": "#56a64b", "duplicate": "#3274d9", "conflict": "#a352cc", "quarantined": "#f2cc0c",
	"unauthorized": "#ff780a", "rejected": "#ffb357", "overloaded": "#ad0317", "unavailable": "#e02f44",
	"broker-unavailable": "#e02f44", "draining": "#8e8e8e",
	"success": "#56a64b", "failed": "#ff780a",
	"recovered": "#3274d9", "missing": "#e02f44", "errors": "#ad0317",
	"confirmed": "#56a64b", "contradicted": "#e02f44", "unknown": "#f2cc0c",
	"answered": "#56a64b", "denied": "#ad0317", "unusable": "#e02f44",
}

// canvas is what has been drawn.
type canvas struct {
	bytes.Buffer
	from, to float64 // the time shown, in seconds
}

func draw(panels []panel, from, to time.Time) []byte {
	c := &canvas{from: float64(from.UnixMilli()) / 1000, to: float64(to.UnixMilli()) / 1000}
	x, y, height := 0.0, 8.0, 0.0
	for _, p := range panels {
		if p.Type == "row" {
			y += headline
			c.text(4, y-10, 15, textColor, "start", p.Title, `font-weight="600"`)
			continue
		}
		width := column * float64(p.GridPos.W)
		switch p.Type {
		case "stat":
			height = max(height, small)
		case "state-timeline":
			height = max(height, medium)
		default:
			height = large
		}
		c.panel(p, x+4, y+2, width-8, height-6)
		if x += width; x >= 24*column {
			x, y, height = 0, y+height, 0
		}
	}
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 %.0f" font-family="Helvetica, Arial, sans-serif"><rect width="1200" height="%.0f" fill="#f6f8fa"/>`+"\n", y+8, y+8)
	return append([]byte(head), append(c.Bytes(), "</svg>\n"...)...)
}

func (c *canvas) panel(p panel, x, y, w, h float64) {
	fill := "#ffffff"
	if p.Type == "stat" {
		fill = p.color(p.last())
	}
	fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="3" fill="%s" stroke="#d0d7de"/>`+"\n", x, y, w, h, fill)
	if p.Type == "stat" {
		c.text(x+8, y+18, 12, "#ffffff", "start", p.Title, "")
		value := scaled(p.last(), p.FieldConfig.Defaults.Unit)
		if p.FieldConfig.Defaults.Mappings != nil {
			value = map[bool]string{true: "yes", false: "no"}[p.last() == 1]
		}
		c.text(x+w/2, y+h-16, 28, "#ffffff", "middle", value, `font-weight="600"`)
		return
	}
	c.text(x+8, y+18, 12, textColor, "start", p.Title, `font-weight="600"`)
	switch p.Type {
	case "bargauge":
		c.bars(p, x+8, y+30, w-16, h-38)
	case "state-timeline":
		c.states(p, x+70, y+28, w-80, h-36)
	case "heatmap":
		c.heat(p, x+44, y+28, w-56, h-40)
	default:
		c.lines(p, x+44, y+28, w-56, h-58)
		c.legends(p, x+8, y+h-8, w-16)
	}
}

func (c *canvas) text(x, y, size float64, color, anchor, text, more string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" font-size="%.0f" fill="%s" text-anchor="%s" %s>%s</text>`+"\n", x, y, size, color, anchor, more, html.EscapeString(text))
}

// at is the place of a time.
func (c *canvas) at(time, x, w float64) float64 { return x + w*(time-c.from)/(c.to-c.from) }

// last is the value of a panel with one number.
func (p panel) last() float64 { return p.series[0].Points[len(p.series[0].Points)-1].value }

func (p panel) color(value float64) string {
	color := named["green"]
	for _, s := range p.FieldConfig.Defaults.Thresholds.Steps {
		if s.Value == nil || value >= *s.Value {
			color = named[s.Color]
		}
	}
	return color
}

func (p panel) lineColor(i int) string {
	if color, ok := named[p.series[i].Labels["legend"]]; ok {
		return color
	}
	return palette[i%len(palette)]
}

// lines draws values over time, one above the other if they are stacked.
func (c *canvas) lines(p panel, x, y, w, h float64) {
	stacked := p.FieldConfig.Defaults.Custom.Stacking.Mode == "normal"
	top, sums := 0.0, map[float64]float64{}
	for _, s := range p.series {
		for _, at := range s.Points {
			if math.IsNaN(at.value) || math.IsInf(at.value, 0) {
				continue
			}
			if sums[at.time] += at.value; stacked {
				top = max(top, sums[at.time])
			} else {
				top = max(top, at.value)
			}
		}
	}
	if top == 0 {
		top = 1
	}
	clear(sums)
	place := func(v float64) float64 { return y + h - h*v/top }
	for i := range 3 {
		v := top * float64(i) / 2
		fmt.Fprintf(c, `<path d="M%.1f %.1fh%.1f" stroke="#eaeef2"/>`+"\n", x, place(v), w)
		c.text(x-4, place(v)+3, 9, paleColor, "end", scaled(v, p.FieldConfig.Defaults.Unit), "")
	}
	for i, s := range p.series {
		color := p.lineColor(i)
		var lower, upper bytes.Buffer
		before := math.Inf(-1)
		for _, at := range s.Points {
			if math.IsNaN(at.value) {
				continue
			}
			if stacked {
				// A bar for each moment: a series can begin and end anywhere.
				fmt.Fprintf(&lower, "M%.1f %.1fV%.1f", c.at(at.time, x, w), place(sums[at.time]), place(sums[at.time]+at.value))
				sums[at.time] += at.value
				continue
			}
			command := "L"
			if at.time-before > 1.5*(c.to-c.from)/100 {
				command = "M" // a gap
			}
			fmt.Fprintf(&upper, "%s%.1f %.1f", command, c.at(at.time, x, w), place(at.value))
			before = at.time
		}
		if stacked {
			fmt.Fprintf(c, `<path d="%s" stroke="%s" stroke-width="%.1f" fill="none"/>`+"\n", lower.String(), color, w/120+0.2)
		} else {
			fmt.Fprintf(c, `<path d="%s" stroke="%s" stroke-width="1.4" fill="none"/>`+"\n", upper.String(), color)
		}
	}
}

// legends names the lines.
func (c *canvas) legends(p panel, x, y, w float64) {
	right := x + w
	for i, s := range p.series {
		name := s.Labels["legend"]
		width := 16 + 5.2*float64(len(name))
		if x+width > right {
			return
		}
		fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="8" height="3" fill="%s"/>`+"\n", x, y-4, p.lineColor(i))
		c.text(x+11, y, 9, textColor, "start", name, "")
		x += width
	}
}

// heat draws how many values fell into each bucket.
func (c *canvas) heat(p panel, x, y, w, h float64) {
	type bucket struct {
		le     float64
		counts map[float64]float64
	}
	var buckets []bucket
	for _, s := range p.series {
		le, err := strconv.ParseFloat(s.Labels["le"], 64)
		if err != nil {
			continue
		}
		b := bucket{le, map[float64]float64{}}
		for _, at := range s.Points {
			b.counts[at.time] = at.value
		}
		buckets = append(buckets, b)
	}
	slices.SortFunc(buckets, func(a, b bucket) int { return int(math.Copysign(1, a.le-b.le)) })
	row, most := h/float64(len(buckets)), 0.0
	for i := len(buckets) - 1; i > 0; i-- { // those of a bucket alone
		for at := range buckets[i].counts {
			buckets[i].counts[at] -= buckets[i-1].counts[at]
			most = max(most, buckets[i].counts[at])
		}
	}
	for i, b := range buckets {
		bottom := y + h - row*float64(i)
		if i%4 == 0 {
			c.text(x-4, bottom, 9, paleColor, "end", scaled(b.le, "s"), "")
		}
		for _, at := range slices.Sorted(maps.Keys(b.counts)) {
			if n := b.counts[at]; n > 1e-9 {
				fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#1f5fbf" opacity="%.2f"/>`+"\n", c.at(at, x, w)-w/240, bottom-row, w/120, row, 0.15+0.85*math.Sqrt(n/most))
			}
		}
	}
}

// states draws when something held, and when not.
func (c *canvas) states(p panel, x, y, w, h float64) {
	row := h / float64(len(p.series))
	for i, s := range p.series {
		top := y + row*float64(i)
		c.text(x-4, top+row/2+2, 9, textColor, "end", s.Labels["legend"], "")
		for from := 0; from < len(s.Points); {
			// As long as it is the same, and nothing is missing.
			to := from + 1
			for to < len(s.Points) && s.Points[to].value == s.Points[from].value && s.Points[to].time-s.Points[to-1].time < 1.5*(c.to-c.from)/100 {
				to++
			}
			color := named["red"]
			if s.Points[from].value == 1 {
				color = named["green"]
			}
			left, right := c.at(s.Points[from].time, x, w), c.at(s.Points[to-1].time, x, w)
			fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", left, top+1, right-left+w/120, row-3, color)
			from = to
		}
	}
}

// bars draws the last value of each series.
func (c *canvas) bars(p panel, x, y, w, h float64) {
	most := 0.0
	for _, s := range p.series {
		most = max(most, s.Points[len(s.Points)-1].value)
	}
	row := h / float64(len(p.series))
	for i, s := range p.series {
		v, top := s.Points[len(s.Points)-1].value, y+row*float64(i)
		c.text(x, top+row/2-4, 9, textColor, "start", s.Labels["legend"], "")
		c.text(x+w, top+row/2-4, 9, textColor, "end", scaled(v, "short"), "")
		fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="7" fill="#ff780a"/>`+"\n", x, top+row/2, w*v/most)
	}
}

// scaled is a value with its unit, as short as can be.
func scaled(v float64, unit string) string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case unit == "s" && v >= 60:
		return number(v/60) + " min"
	case unit == "s" && v > 0 && v < 0.001:
		return number(v*1e6) + " µs"
	case unit == "s" && v > 0 && v < 1:
		return number(v*1e3) + " ms"
	case unit == "s":
		return number(v) + " s"
	case unit == "bytes" && v >= 1<<20:
		return number(v/(1<<20)) + " MiB"
	case unit == "bytes":
		return number(v/(1<<10)) + " KiB"
	case unit == "percentunit":
		return number(v*100) + " %"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	default:
		return number(v)
	}
}
