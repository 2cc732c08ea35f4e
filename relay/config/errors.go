package config

import (
	"fmt"
	"strings"
)

// Error is one wrong or missing setting.
type Error struct {
	// Variable is the environment variable, or empty if it is about none.
	Variable string
	// Value is what it is set to; empty where Secret is true.
	Value  string
	Secret bool
	// Problem says what is wrong, Hint what to do, if Problem does not say it.
	Problem, Hint string
}

// Error returns a sentence with the variable, the value unless it is a secret, and the hint.
func (e Error) Error() string {
	var b strings.Builder
	switch {
	case e.Variable == "":
	case e.Secret:
		fmt.Fprintf(&b, "%s (secret, not shown): ", e.Variable)
	case e.Value == "":
		fmt.Fprintf(&b, "%s (not set): ", e.Variable)
	default:
		fmt.Fprintf(&b, "%s=%q: ", e.Variable, e.Value)
	}
	b.WriteString(e.Problem)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Errors are all wrong and missing settings.
type Errors []Error

// Error lists the errors, a line each.
func (e Errors) Error() string {
	if len(e) == 1 {
		return "the configuration has an error:\n  " + e[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the configuration has %d errors:", len(e))
	for _, err := range e {
		b.WriteString("\n  " + err.Error())
	}
	return b.String()
}
