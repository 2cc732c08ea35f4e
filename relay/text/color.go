package text

import "github.com/fatih/color"

// Color is a color of a terminal.
type Color = color.Attribute

// The colors that results have.
const (
	Green  = color.FgGreen
	Yellow = color.FgYellow
	Red    = color.FgRed
	Faint  = color.Faint
)

// Paint returns s in a color, or unchanged if on is false. The caller decides whether the
// terminal shows colors and its user wants them.
func Paint(on bool, c Color, s string) string {
	if !on {
		return s
	}
	paint := color.New(c)
	paint.EnableColor() // else the library looks at standard output and the environment itself
	return paint.Sprint(s)
}
