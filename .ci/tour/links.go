package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// links holds the links within the pages of the repository against what is there.
func links(root string) error {
	out, err := exec.Command("git", "-C", root, "ls-files", "*.md").Output()
	if err != nil {
		return err
	}
	link := regexp.MustCompile(`\]\(([^)\s]*)\)`)
	var broken []error
	for _, page := range strings.Fields(string(out)) {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := filepath.Join(root, page)
			if file != "" {
				target = filepath.Join(root, filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				broken = append(broken, fmt.Errorf("%s: %w", page, err))
				continue
			}
			if anchor != "" && !slices.Contains(anchors(target), anchor) {
				broken = append(broken, fmt.Errorf("%s: there is no #%s in %s", page, anchor, target))
			}
		}
	}
	return errors.Join(broken...)
}

// anchors are those of a page, as GitHub makes them of headings, and those it names.
func anchors(page string) (all []string) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		kept := regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(kept, " ", "-"))
	}
	for _, m := range regexp.MustCompile(`<a id="([^"]*)">`).FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	return all
}
