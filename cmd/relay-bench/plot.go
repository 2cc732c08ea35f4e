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
	labelWidth = 148.0 // names of receivers
	panelGap   = 14.0
	figureRoom = 64.0 // for the figure beside the last dot
	rowHeight  = 20.0
	groupHead  = 28.0 // the line with the load
	plotTop    = 104.0
)

// Receivers keep their colours in all panels. Others than these get the last.
var colours = map[string]string{idFloor: "#8c959f", idNaive: "#bc4c00", idExternal: "#0969da", idAlways: "#1a7f37", idInterval: "#57ab5a"}

const (
	otherColour = "#8250df"
	inkColour   = "#1f2328"
	faintColour = "#59636e"
	gridColour  = "#d8dee4"
)

// panel shows one figure of all rows, as dots on a logarithmic scale: what a load of
// 200 a second and one of 256 connections cost differs by orders of magnitude.
type panel struct {
	title     string
	value     func(row) number
	x, w      float64 // of the scale, without the room for figures
	low, high float64 // powers of ten
}

// plot shows the figures as an SVG, on a background of its own since it is
// to be read on a white page as on a dark one.
func (r *record) plot() []byte {
	panels := []*panel{
		{title: "Webhooks a second", value: func(r row) number { return r.PerSecond }},
		{title: "p50, ms", value: func(r row) number { return r.P50 }},
		{title: "p99, ms", value: func(r row) number { return r.P99 }},
		{title: "CPU a webhook, µs", value: func(r row) number { return r.CPU }},
	}
	width := (plotWidth - 2*plotMargin - labelWidth - float64(len(panels)-1)*panelGap) / float64(len(panels))
	for i, p := range panels {
		p.x, p.w = plotMargin+labelWidth+float64(i)*(width+panelGap), width-figureRoom
		p.fit(r.Rows)
	}
	loads := 0
	for i, line := range r.Rows {
		if i == 0 || line.Load != r.Rows[i-1].Load {
			loads++
		}
	}
	bottom := plotTop + float64(len(r.Rows))*rowHeight + float64(loads)*groupHead
	height := bottom + 84

	var b strings.Builder
	const title = "What a webhook costs: apixo-relay beside a naive handler and a bare one"
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]g %[2]g" width="%[1]g" height="%[2]g" role="img" aria-label="%[3]s" font-family="-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif" font-size="12">`+"\n", plotWidth, height, title)
	fmt.Fprintf(&b, `<rect x="0.5" y="0.5" width="%g" height="%g" rx="8" fill="#ffffff" stroke="%s"/>`+"\n", plotWidth-1, height-1, gridColour)
	words(&b, plotMargin, 38, `font-size="18" font-weight="600"`, inkColour, title)
	words(&b, plotMargin, 58, "", faintColour, fmt.Sprintf("Medians of %s, in turns on one machine with %s, which the load shares. Logarithmic scales.", r.roundsText(), count(r.Facts.Cores, "core")))
	for _, p := range panels {
		p.frame(&b, bottom)
	}
	y := plotTop
	for i, line := range r.Rows {
		if i == 0 || line.Load != r.Rows[i-1].Load {
			words(&b, plotMargin, y+20, `font-weight="600"`, inkColour, loadText(line.Load))
			y += groupHead
		}
		colour, ok := colours[line.Receiver]
		if !ok {
			colour = otherColour
		}
		fmt.Fprintf(&b, `<rect x="%g" y="%g" width="10" height="10" rx="2" fill="%s"/>`+"\n", plotMargin, y+5, colour)
		words(&b, plotMargin+17, y+14, "", inkColour, shortened(line.Name))
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

// shortened keeps the name of a receiver in its column.
func shortened(name string) string {
	const most = 20
	if letters := []rune(name); len(letters) > most {
		return string(letters[:most-1]) + "…"
	}
	return name
}

func (r *record) plotCaption() []string {
	f := r.Facts
	return []string{
		fmt.Sprintf("apixo-relay %s, %s, %s, %s. %s, fsync p50 %s ms. Measured on %s.", f.Relay, f.Go, f.CPU, f.system(), f.Filesystem, digits(f.FsyncP50), f.Date),
		fmt.Sprintf("always: fsynced before the answer. naive and external: nats-server %s, which does not fsync first; its own CPU is not shown here.", f.NATSServer),
	}
}

// fit chooses the ends of the scale.
func (p *panel) fit(rows []row) {
	least, most := math.Inf(1), 0.0
	for _, r := range rows {
		if value := float64(p.value(r)); value > 0 { // also no NaN
			least, most = min(least, value), max(most, value)
		}
	}
	if most == 0 {
		least, most = 1, 1 // nothing was measured
	}
	p.low, p.high = math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	p.high = max(p.high, p.low+1)
}

// at is where a value is on the scale.
func (p *panel) at(value float64) float64 {
	return p.x + p.w*(math.Log10(value)-p.low)/(p.high-p.low)
}

// frame draws the title, the grid and what it means.
func (p *panel) frame(b *strings.Builder, bottom float64) {
	words(b, p.x, plotTop-10, `font-weight="600"`, inkColour, p.title)
	for decade := p.low; decade <= p.high; decade++ {
		value := math.Pow(10, decade)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%g" x2="%.1f" y2="%g" stroke="%s"/>`+"\n", p.at(value), plotTop, p.at(value), bottom, gridColour)
		text := fmt.Sprintf("%g", value)
		if value >= 1000 {
			text = fmt.Sprintf("%gk", value/1000)
		}
		words(b, p.at(value), bottom+16, `font-size="10" text-anchor="middle"`, faintColour, text)
	}
}

// draw shows the figure of one row.
func (p *panel) draw(b *strings.Builder, r row, y float64, colour string) {
	value, end, label := float64(p.value(r)), p.x, "not measured"
	if value > 0 {
		end, label = p.at(value), digits(number(value))
		if value >= 1000 {
			label = whole(number(value))
		}
		middle := y + rowHeight/2
		fmt.Fprintf(b, `<line x1="%.1f" y1="%g" x2="%.1f" y2="%g" stroke="%s" stroke-opacity="0.35" stroke-width="2"/>`, p.x, middle, end, middle, colour)
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%g" r="5" fill="%s"/>`+"\n", end, middle, colour)
	}
	// The white edge keeps the figure readable where a grid line crosses it.
	words(b, end+9, y+14, `font-size="11" paint-order="stroke" stroke="#ffffff" stroke-width="3"`, inkColour, label)
}

// words writes text, which may come from anywhere.
func words(b *strings.Builder, x, y float64, attributes, colour, text string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" fill="%s" %s>%s</text>`+"\n", x, y, colour, attributes, html.EscapeString(text))
}
