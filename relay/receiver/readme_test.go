package receiver

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every type of problem is explained in the table of answers under the status that it comes
// with, and the repository's README leads there from the anchor to which the type points.
func TestReadmeExplainsEveryProblem(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("response.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[string]int{}
	for _, k := range problems {
		statuses[k.slug] = k.status
	}
	slugs := regexp.MustCompile(`problem\{"([a-z-]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(slugs) != len(statuses) {
		t.Errorf("there are %d types of problems, this test knows %d", len(slugs), len(statuses))
	}
	for _, match := range slugs {
		slug := match[1]
		anchor := `<a id="` + slug + `"></a>`
		if !strings.Contains(string(readme), anchor) {
			t.Errorf("the repository's README has no %s", anchor)
		}
		if row := "| " + strconv.Itoa(statuses[slug]) + " | " + anchor; !strings.Contains(string(table), row) {
			t.Errorf("the table of answers has no row that begins with %s", row)
		}
	}
}
