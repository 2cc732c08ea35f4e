package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What reads an env file is often no shell, and leaves in a value what a shell takes
// away or replaces: quotes, the carriage return of a file from Windows, a ~ and the
// names of variables. Such a value is refused, since what comes of it fails late and
// far away: a folder called ", a token that nobody can match.

// quotes are those that people put around values, as they open and close.
var quotes = map[rune]rune{'"': '"', '\'': '\'', '“': '”', '‘': '’'}

var (
	homeFolder = regexp.MustCompile(`^~[A-Za-z0-9_.-]*(/|$)`)
	// unexpanded is a variable, or a command, that a shell or Kubernetes replaces. What
	// has no brackets is one only where a word begins: files may have a $ in their names.
	unexpanded = regexp.MustCompile(`\$\{[^}]*\}|\$\([^)]*\)|(?:^|[/,:= ])\$[A-Za-z_][A-Za-z0-9_]*`)
	// shellVariable is one that is all of a value: what may hold a $ is seldom in capitals.
	shellVariable = regexp.MustCompile(`^\$(?:\{[^}]*\}|\([^)]*\)|[A-Z_][A-Z0-9_]*)$`)
)

const (
	quotesHint     = "leave the quotes out: what reads this file takes them for a part of the value"
	unexpandedHint = "write the value itself: nothing has put it in the place of the name"
)

// checkSpelling refuses values that were meant for a shell, and takes spaces from
// around the others. A secret may hold anything but control characters; what is seldom
// right in one is for suspicious, or for its own type.
func checkSpelling(known []Variable, vars map[string]string) (errs Errors) {
	for _, v := range known {
		if v.Secret {
			if problem, hint := control(v, vars[v.Name]); problem != "" {
				errs = append(errs, Error{Variable: v.Name, Secret: true, Problem: problem, Hint: hint})
				delete(vars, v.Name) // or its type would tell of it, too
			}
			v = Variable{Name: v.Name + "_FILE", typ: reflect.TypeFor[string]()}
		}
		value := vars[v.Name]
		if trimmed := strings.Trim(value, " "); trimmed != "" {
			value = trimmed
			vars[v.Name] = value
		}
		problem, hint := control(v, value)
		if problem == "" {
			problem, hint = shellSyntax(v.Name, value)
		}
		if problem == "" {
			continue
		}
		errs = append(errs, Error{Variable: v.Name, Value: withoutUsers(value), Problem: problem, Hint: hint})
		delete(vars, v.Name)
	}
	return errs
}

// control finds a control character. In a list, line feeds and tabs may stand between
// the items.
func control(v Variable, value string) (problem, hint string) {
	isList := v.typ.Kind() == reflect.Slice || v.Name == "NATS_URL"
	for _, c := range value {
		switch {
		case c == '\r':
			return "holds a carriage return, as files with the line ends of Windows have it", "save the file that it comes from with the line ends of Unix"
		case isList && (c == '\n' || c == '\t'):
		case c == '\n':
			return "holds a line break", "write it on one line, and without a line break at its end ('echo -n', 'printf %s')"
		case unicode.IsControl(c):
			return fmt.Sprintf("holds the control character %U", c), "write it again, without what cannot be seen"
		}
	}
	return "", ""
}

// shellSyntax finds what a shell would have taken away or replaced.
func shellSyntax(name, value string) (problem, hint string) {
	first, _ := utf8.DecodeRuneInString(value)
	last, _ := utf8.DecodeLastRuneInString(value)
	opens := quotes[first] != 0
	closes := quotes[last] != 0 || last == '”' || last == '’'
	switch {
	case opens || closes:
		return "begins or ends with a quote", quotesHint
	case homeFolder.MatchString(value):
		return "begins with ~, in whose place only a shell puts the home folder", "write the whole path, from / on"
	}
	forms := unexpanded
	if name == "NATS_USER" || name == "RELAY_CE_SOURCE" { // which may hold a $
		forms = shellVariable
	}
	if found := forms.FindString(withoutUsers(value)); found != "" {
		return fmt.Sprintf("holds %s, in whose place only a shell puts a value", found[strings.IndexByte(found, '$'):]), unexpandedHint
	}
	return "", ""
}

// withoutUsers leaves passwords, which may hold anything, out of what may be URLs.
func withoutUsers(value string) string {
	if strings.Contains(value, "@") {
		return RedactURLs(value)
	}
	return value
}

// isQuoted reports whether quotes are around a value.
func isQuoted(value string) bool {
	first, size := utf8.DecodeRuneInString(value)
	last, _ := utf8.DecodeLastRuneInString(value)
	return len(value) > size && quotes[first] != 0 && quotes[first] == last
}

// Warning is about a value that is used in another form than it was written, or that is
// probably a mistake.
type Warning struct {
	// Variable is the environment variable, and Value what it is set to; empty where
	// Secret is true.
	Variable, Value string
	Secret          bool
	// Problem says what is strange about it, Instead what comes of it.
	Problem, Instead string
}

// String returns a sentence with the variable, the value unless it is a secret, and the rest.
func (w Warning) String() string {
	return Error{Variable: w.Variable, Value: w.Value, Secret: w.Secret, Problem: w.Problem, Hint: w.Instead}.Error()
}

// suspicious finds passwords that look as if they were written for a shell.
func suspicious(known []Variable, vars map[string]string) (warnings []Warning) {
	for _, v := range known {
		value, problem := vars[v.Name], ""
		switch {
		case !v.Secret || v.typ.Kind() != reflect.String:
		case isQuoted(value):
			problem = "has quotes around it"
		case shellVariable.MatchString(value):
			problem = "looks like a variable in whose place nothing was put"
		case strings.TrimSpace(value) != value:
			problem = "has white space around it"
		}
		if problem != "" {
			warnings = append(warnings, Warning{Variable: v.Name, Secret: true, Problem: problem, Instead: "it is used as it is"})
		}
	}
	return warnings
}
