package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The plot's measures, in pixels. It is as wide as GitHub shows a README.
const (
	plotWidth  = 960.0
	plotMargin = 24.0
	labelWidth = 158.0 // names of receivers
	panelGap   = 18.0
	figureRoom = 74.0 // for the figure beside the longest bar
	rowHeight  = 22.0
	barHeight  = 14.0
	groupHead  = 30.0 // the line with the number of connections
	plotTop    = 104.0
)

// Receivers keep their colours in all panels. Others than these get the last.
var colours = map[string]string{idFloor: "#8c959f", idExternal: "#0969da", idAlways: "#1a7f37", idInterval: "#57ab5a"}

const (
	otherColour  = "#8250df"
	brokerColour = "#a5c8f5" // what the external broker adds
	inkColour    = "#1f2328"
	faintColour  = "#59636e"
	gridColour   = "#d8dee4"
)

// panel shows one figure of all rows, as bars from zero or, where the figures are
// of very different sizes, as dots on a logarithmic scale.
type panel struct {
	title   string
	log     bool
	value   func(row) number
	more    func(row) number // what is stacked upon it, if anything
	label   func(row) string
	x, w    float64 // of the scale, without the room for figures
	low     float64
	high    float64
	between []float64 // where there are grid lines
}

// plot shows the figures as an SVG, on a background of its own since it is
// to be read on a white page as on a dark one.
func (r *report) plot() []byte {
	rows := r.rows()
	panels := []*panel{
		{title: "Requests a second", value: func(r row) number { return r.PerSecond }, label: func(r row) string { return whole(r.PerSecond) }},
		{title: "p99 latency, ms (logarithmic)", log: true, value: func(r row) number { return r.P99 }, label: func(r row) string { return digits(r.P99) }},
		{title: "CPU a request, µs", value: func(r row) number { return r.CPU }, more: func(r row) number { return r.BrokerCPU }, label: cpuLabel},
	}
	width := (plotWidth - 2*plotMargin - labelWidth - float64(len(panels)-1)*panelGap) / float64(len(panels))
	for i, p := range panels {
		p.x, p.w = plotMargin+labelWidth+float64(i)*(width+panelGap), width-figureRoom
		p.fit(rows)
	}
	bottom := plotTop + float64(len(rows))*rowHeight + float64(len(r.results))*groupHead
	height := bottom + 84

	var b strings.Builder
	const title = "What a webhook costs: apixo-relay beside a bare net/http handler"
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]g %[2]g" width="%[1]g" height="%[2]g" role="img" aria-label="%[3]s" font-family="-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif" font-size="12">`+"\n", plotWidth, height, title)
	fmt.Fprintf(&b, `<rect x="0.5" y="0.5" width="%g" height="%g" rx="8" fill="#ffffff" stroke="%s"/>`+"\n", plotWidth-1, height-1, gridColour)
	words(&b, plotMargin, 38, `font-size="18" font-weight="600"`, inkColour, title)
	words(&b, plotMargin, 58, "", faintColour, r.plotSubtitle())
	for _, p := range panels {
		p.frame(&b, bottom)
	}
	y, connections := plotTop, 0
	for _, line := range rows {
		if line.Connections != connections {
			connections = line.Connections
			words(&b, plotMargin, y+21, `font-weight="600"`, inkColour, count(connections, "connection"))
			y += groupHead
		}
		colour, ok := colours[line.Receiver]
		if !ok {
			colour = otherColour
		}
		fmt.Fprintf(&b, `<rect x="%g" y="%g" width="10" height="10" rx="2" fill="%s"/>`+"\n", plotMargin, y+6, colour)
		words(&b, plotMargin+17, y+15, "", inkColour, shortened(line.name))
		for _, p := range panels {
			p.draw(&b, line, y, colour)
		}
		y += rowHeight
	}
	for i, line := range r.plotCaption() {
		words(&b, plotMargin, bottom+44+float64(i)*17, `font-size="11"`, faintColour, line)
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// cpuLabel is the CPU, how it compares to the floor's, and the broker's.
func cpuLabel(r row) string {
	if !r.CPU.known() {
		return "not measured"
	}
	text := digits(r.CPU)
	if r.Receiver != idFloor && r.ToFloor.CPU.known() {
		text += fmt.Sprintf(" (%.1f×)", float64(r.ToFloor.CPU))
	}
	if r.BrokerCPU.known() {
		text += " + " + digits(r.BrokerCPU)
	}
	return text
}

// shortened keeps the name of a receiver in its column.
func shortened(name string) string {
	const most = 22
	if letters := []rune(name); len(letters) > most {
		return string(letters[:most-1]) + "…"
	}
	return name
}

func (r *report) plotSubtitle() string {
	return fmt.Sprintf("Medians of %s, in turns on one machine with %s, which the load shares. × compares with the floor.", r.roundsText(), count(r.facts.Cores, "core"))
}

func (r *report) plotCaption() []string {
	f := r.facts
	system, _, _ := strings.Cut(f.Kernel, " ") // the release is this machine's, and nobody else's
	return []string{
		fmt.Sprintf("apixo-relay %s, %s, %s, %s. %s, fsync p50 %s ms. Measured on %s.", f.Relay, f.Go, f.CPU, system, f.Filesystem, digits(f.FsyncP50), f.Date),
		fmt.Sprintf("always: answered when fsynced. External: nats-server %s, which does not fsync first; its own CPU is added in a lighter shade.", f.NATSServer),
	}
}

// fit chooses the ends of the scale and its grid lines.
func (p *panel) fit(rows []row) {
	least, most := math.Inf(1), 0.0
	for _, r := range rows {
		value := float64(p.value(r))
		if p.more != nil && p.more(r).known() {
			value += float64(p.more(r))
		}
		if value > 0 { // also no NaN
			least, most = min(least, value), max(most, value)
		}
	}
	if most == 0 {
		least, most = 1, 1 // nothing was measured
	}
	if p.log {
		p.low, p.high = math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
		p.high = max(p.high, p.low+1)
		for decade := p.low; decade <= p.high; decade++ {
			p.between = append(p.between, math.Pow(10, decade))
		}
		return
	}
	// Steps of 1, 2 or 5, with a power of ten: two to four, or their figures would touch.
	step := math.Pow(10, math.Floor(math.Log10(most/2)))
	for _, factor := range []float64{5, 2} {
		if most/(step*factor) >= 1.5 {
			step *= factor
			break
		}
	}
	p.high = step * math.Ceil(most/step)
	for value := 0.0; value <= p.high; value += step {
		p.between = append(p.between, value)
	}
}

// at is where a value is on the scale.
func (p *panel) at(value float64) float64 {
	if p.log {
		value = math.Log10(value)
	}
	return p.x + p.w*(value-p.low)/(p.high-p.low)
}

// frame draws the title, the grid and what it means.
func (p *panel) frame(b *strings.Builder, bottom float64) {
	words(b, p.x, plotTop-10, `font-weight="600"`, inkColour, p.title)
	for i, value := range p.between {
		colour := gridColour
		if i == 0 {
			colour = "#afb8c1"
		}
		fmt.Fprintf(b, `<line x1="%.1f" y1="%g" x2="%.1f" y2="%g" stroke="%s"/>`+"\n", p.at(value), plotTop, p.at(value), bottom, colour)
		text := whole(number(value))
		if value > 0 && value < 1 {
			text = fmt.Sprintf("%g", value)
		}
		words(b, p.at(value), bottom+16, `font-size="10" text-anchor="middle"`, faintColour, text)
	}
}

// draw shows the figure of one row.
func (p *panel) draw(b *strings.Builder, r row, y float64, colour string) {
	value, end := float64(p.value(r)), p.x
	top := y + (rowHeight-barHeight)/2
	switch {
	case !(value > 0):
	case p.log:
		end = p.at(value) + 5
		fmt.Fprintf(b, `<line x1="%.1f" y1="%g" x2="%.1f" y2="%g" stroke="%s" stroke-opacity="0.35" stroke-width="2"/>`, p.x, y+rowHeight/2, p.at(value), y+rowHeight/2, colour)
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%g" r="5" fill="%s"/>`+"\n", p.at(value), y+rowHeight/2, colour)
	default:
		end = p.at(value)
		fmt.Fprintf(b, `<rect x="%.1f" y="%g" width="%.1f" height="%g" fill="%s"/>`+"\n", p.x, top, end-p.x, barHeight, colour)
		if p.more != nil && p.more(r).known() {
			begin := end
			end = p.at(value + float64(p.more(r)))
			fmt.Fprintf(b, `<rect x="%.1f" y="%g" width="%.1f" height="%g" fill="%s"/>`+"\n", begin, top, end-begin, barHeight, brokerColour)
		}
	}
	// The white edge keeps the figure readable where a grid line crosses it.
	words(b, end+5, y+15, `font-size="11" paint-order="stroke" stroke="#ffffff" stroke-width="3"`, inkColour, p.label(r))
}

// words writes text, which may come from anywhere.
func words(b *strings.Builder, x, y float64, attributes, colour, text string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" fill="%s" %s>%s</text>`+"\n", x, y, colour, attributes, html.EscapeString(text))
}
