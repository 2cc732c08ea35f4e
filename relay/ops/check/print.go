package check

import (
	"fmt"
	"io"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/text"
)

// colors of a terminal for each status.
var colors = map[Status]text.Color{OK: text.Green, Warn: text.Yellow, Fail: text.Red, Skip: text.Faint}

// WriteText writes the report for a person: a line for each check and one for what to
// do, and in the end how many there are of each kind. Its form may change; scripts use
// the JSON one. The error is the writer's.
func (r Report) WriteText(w io.Writer, color bool) error {
	width := 0
	for _, c := range r.Checks {
		width = max(width, len(c.Name))
	}
	var b strings.Builder
	for _, c := range r.Checks {
		status := text.Paint(color, colors[c.Status], fmt.Sprintf("%-4s", c.Status))
		fmt.Fprintf(&b, "%s  %-*s  %s\n", status, width, c.Name, text.Line(c.Fact))
		if c.Remedy != "" {
			fmt.Fprintf(&b, "%*s→ %s\n", 4+2+width+2, "", text.Line(c.Remedy))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", r.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// summary is one line such as "12 ok, 1 warning, 1 failed".
func (r Report) summary() string {
	s := fmt.Sprintf("%d ok", r.Count(OK))
	switch n := r.Count(Warn); {
	case n == 1:
		s += ", 1 warning"
	case n > 1:
		s += fmt.Sprintf(", %d warnings", n)
	}
	if n := r.Count(Fail); n > 0 {
		s += fmt.Sprintf(", %d failed", n)
	}
	if n := r.Count(Skip); n > 0 {
		s += fmt.Sprintf(", %d not looked at", n)
	}
	return s
}

// WriteJSON writes the report as one line of JSON. The error is the writer's.
func (r Report) WriteJSON(w io.Writer) error {
	return text.WriteJSON(w, r)
}

// size writes a number of bytes with about three digits and its unit.
func size[N int64 | uint64](n N) string {
	x := float64(n)
	for _, unit := range []string{"bytes", "KiB", "MiB", "GiB"} {
		if x < 1024 {
			if unit == "bytes" {
				return fmt.Sprintf("%.0f bytes", x)
			}
			return text.Number(x) + " " + unit
		}
		x /= 1024
	}
	return text.Number(x) + " TiB"
}
