package main

import (
	"strings"
	"unicode"
)

// object is one of JSON, whose members encoding/json sorts.
type object map[string]any

const (
	project = "https://github.com/apixo-relay/apixo-relay"
	runbook = project + "/blob/main/deploy/RUNBOOK.md"
	// chosen is what @ stands for in a query.
	chosen = `job=~"$job", instance=~"$instance"`
)

// source is the data source that the dashboard's first variable names.
var source = object{"type": "prometheus", "uid": "${datasource}"}

// colors are those of outcomes, problems and states, the same everywhere.
var colors = []struct{ name, color string }{
	{"published", "green"}, {"duplicate", "blue"}, {"conflict", "purple"}, {"quarantined", "yellow"},
	{"unauthorized", "orange"}, {"rejected", "light-orange"}, {"overloaded", "dark-red"}, {"unavailable", "red"},
	{"broker-unavailable", "red"}, {"draining", "#8e8e8e"},
	{"success", "green"}, {"failed", "orange"},
	{"recovered", "blue"}, {"missing", "red"}, {"errors", "dark-red"},
	{"confirmed", "green"}, {"contradicted", "red"}, {"unknown", "yellow"},
	{"answered", "green"}, {"denied", "dark-red"}, {"unusable", "red"},
}

// dashboard is Grafana's form of the rows.
func dashboard(rows []row) object {
	var panels []object
	y := 0
	for _, r := range rows {
		panels = append(panels, object{
			"id": len(panels) + 1, "type": "row", "title": r.title, "collapsed": false, "panels": []object{},
			"gridPos": object{"x": 0, "y": y, "w": 24, "h": 1},
		})
		y++
		x := 0
		for _, p := range r.panels {
			height := 8
			if r.panels[0].kind == stat {
				height = 4
			} else if p.kind == states {
				height = 5
			}
			form := p.grafana()
			form["id"] = len(panels) + 1
			form["gridPos"] = object{"x": x, "y": y, "w": p.width, "h": height}
			panels = append(panels, form)
			if x += p.width; x == 24 {
				x, y = 0, y+height
			}
		}
	}
	return object{
		"uid": "apixo-relay", "title": "apixo-relay", "tags": []string{"apixo", "nats", "webhooks"},
		"description":   "APIXO's webhooks on their way into NATS JetStream.",
		"schemaVersion": 39, "version": 1, "editable": true, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
		"time":   object{"from": "now-3h", "to": "now"},
		"panels": panels,
		"links": []object{
			link("Runbook", runbook),
			link("What each answer means", project+"#what-each-answer-means"),
		},
		"templating": object{"list": []object{
			{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
			variable("job", "Job", "label_values(apixo_relay_build_info, job)"),
			variable("instance", "Relay", `label_values(apixo_relay_build_info{job=~"$job"}, instance)`),
		}},
		"annotations": object{"list": []object{
			annotation("Starts", "blue", `changes(process_start_time_seconds{@}[$__rate_interval]) > 0`, "{{instance}} was started"),
			annotation("Alerts", "red", `ALERTS{@, alertname=~"ApixoRelay.*", alertstate="firing"}`, "{{alertname}} {{instance}}"),
		}},
	}
}

func link(title, url string) object {
	return object{"title": title, "url": url, "type": "link", "icon": "doc", "tooltip": "", "tags": []string{}, "targetBlank": true, "asDropdown": false, "includeVars": false, "keepTime": false}
}

// variable is one of several values, of which all are chosen at first.
func variable(name, label, values string) object {
	return object{
		"name": name, "label": label, "type": "query", "datasource": source,
		"query":   object{"query": values, "refId": name},
		"refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
		"current": object{"text": []string{"All"}, "value": []string{"$__all"}},
	}
}

func annotation(name, color, expr, title string) object {
	return object{"name": name, "datasource": source, "enable": true, "iconColor": color, "expr": choose(expr), "titleFormat": title, "step": "30s"}
}

func choose(expr string) string { return strings.ReplaceAll(expr, "@", chosen) }

// grafana is the panel but for its place.
func (p panel) grafana() object {
	var targets []object
	for i, q := range p.queries {
		target := object{"refId": string(rune('A' + i)), "datasource": source, "expr": choose(q.expr), "legendFormat": q.legend}
		switch p.kind {
		case stat, yesNo, barGauge:
			target["instant"] = true
		case heatmap:
			target["format"] = "heatmap"
		}
		targets = append(targets, target)
	}
	defaults := object{"unit": p.unit, "min": 0}
	if p.log {
		delete(defaults, "min") // which has no logarithm
	}
	if p.steps != nil {
		defaults["thresholds"] = thresholds(p.steps)
	}
	form := object{"title": p.title, "description": p.description, "datasource": source, "targets": targets}
	fields := object{"defaults": defaults, "overrides": []object{}}
	switch p.kind {
	case stat, yesNo:
		form["type"] = "stat"
		form["options"] = object{
			"colorMode": "background", "graphMode": "none", "textMode": "auto", "justifyMode": "auto", "orientation": "auto",
			"wideLayout": true, "showPercentChange": false, "percentChangeColorMode": "standard",
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
		}
		if p.kind == yesNo {
			truth(defaults)
		}
		if p.unit == "short" {
			defaults["decimals"] = 0 // increase() extrapolates
		}
	case lines, stacked:
		form["type"] = "timeseries"
		form["options"] = object{
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
		style := object{"fillOpacity": 10, "lineWidth": 1, "showPoints": "never"}
		if p.kind == stacked {
			style["fillOpacity"], style["lineWidth"] = 60, 0
			style["stacking"] = object{"mode": "normal", "group": "A"}
			fields["overrides"] = fixedColors()
		}
		if p.log {
			style["scaleDistribution"] = object{"type": "log", "log": 10}
		}
		if p.steps != nil {
			style["thresholdsStyle"] = object{"mode": "line"}
		}
		defaults["custom"] = style
	case heatmap:
		form["type"] = "heatmap"
		form["options"] = object{
			"calculate": false, "cellGap": 1, "filterValues": object{"le": 1e-9},
			"color":     object{"mode": "scheme", "scheme": "Blues", "reverse": false, "exponent": 0.5, "steps": 64, "fill": "dark-blue"},
			"exemplars": object{"color": "orange"},
			"legend":    object{"show": true},
			"rowsFrame": object{"layout": "auto"},
			"showValue": "never",
			"tooltip":   object{"mode": "single", "yHistogram": true},
			"yAxis":     object{"unit": p.unit, "axisPlacement": "left"},
		}
	case states:
		form["type"] = "state-timeline"
		form["options"] = object{
			"alignValue": "left", "mergeValues": true, "rowHeight": 0.8, "showValue": "never",
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
			"tooltip": object{"mode": "single", "sort": "none"},
		}
		truth(defaults)
	case barGauge:
		form["type"] = "bargauge"
		form["options"] = object{
			"displayMode": "gradient", "orientation": "horizontal", "showUnfilled": true, "valueMode": "color",
			"minVizWidth": 8, "minVizHeight": 16, "maxVizHeight": 300, "namePlacement": "auto", "sizing": "auto",
			"legend":        object{"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []string{}},
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
		}
		defaults["decimals"], defaults["noValue"] = 0, "none"
	}
	form["fieldConfig"] = fields
	var links []object
	for _, a := range p.alerts {
		links = append(links, link("Runbook: "+words(a), runbook+"#"+strings.ToLower(a)))
	}
	if links != nil {
		form["links"] = links
	}
	return form
}

// truth shows 1 and 0 as yes and no.
func truth(defaults object) {
	defaults["min"], defaults["max"] = 0, 1
	defaults["thresholds"] = thresholds([]step{{0, "red"}, {1, "green"}})
	defaults["color"] = object{"mode": "thresholds"}
	defaults["mappings"] = []object{{"type": "value", "options": object{
		"0": object{"text": "no", "color": "red", "index": 0}, "1": object{"text": "yes", "color": "green", "index": 1},
	}}}
}

func thresholds(steps []step) object {
	var list []object
	for i, s := range steps {
		value := any(s.from)
		if i == 0 {
			value = nil // from minus infinity on
		}
		list = append(list, object{"value": value, "color": s.color})
	}
	return object{"mode": "absolute", "steps": list}
}

func fixedColors() []object {
	var overrides []object
	for _, c := range colors {
		overrides = append(overrides, object{
			"matcher":    object{"id": "byName", "options": c.name},
			"properties": []object{{"id": "color", "value": object{"mode": "fixed", "fixedColor": c.color}}},
		})
	}
	return overrides
}

// words takes an alert's name apart: ApixoRelayNotReady is not ready, ApixoRelayAPIAway API away.
func words(alert string) string {
	name := []rune(strings.TrimPrefix(alert, "ApixoRelay"))
	var b strings.Builder
	for i, r := range name {
		begins := unicode.IsUpper(r) && i+1 < len(name) && unicode.IsLower(name[i+1])
		if i > 0 && (begins || unicode.IsUpper(r) && unicode.IsLower(name[i-1])) {
			b.WriteByte(' ')
		}
		if begins {
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
