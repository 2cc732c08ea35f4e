package main

import (
	"regexp"
	"slices"
	"strings"
)

// block is a fenced block of the README.
type block struct {
	language string
	lines    []string
}

func blocks(text string) (all []block) {
	var b *block
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch fence, isFence := strings.CutPrefix(line, "```"); {
		case isFence && b == nil:
			b = &block{language: fence}
		case isFence:
			all, b = append(all, *b), nil
		case b != nil:
			b.lines = append(b.lines, line)
		}
	}
	return all
}

// inline are the commands of this repository that stand in a line of text.
func inline(text string) (commands []string) {
	fenced := regexp.MustCompile("(?s)\n```.*?\n```")
	for _, m := range regexp.MustCompile("`((?:apixo-relay|go|bash) [^`]+)`").FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if !slices.Contains(commands, m[1]) {
			commands = append(commands, m[1])
		}
	}
	return commands
}

// expression is what the README shows as a regular expression for all that is said.
func expression(shown []string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for _, line := range shown {
		if line == "…" {
			b.WriteString(`(.*\n)?`)
			continue
		}
		line = regexp.QuoteMeta(line)
		line = strings.ReplaceAll(line, "…", `[^\n]*`)
		line = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`).ReplaceAllLiteralString(line, `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
		b.WriteString(line + `\n`)
	}
	return regexp.MustCompile(b.String() + `\n*$`)
}
