package receiver

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every type of problem is explained in the README at the anchor to which it
// points, under the status that it comes with.
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
		row := "| " + strconv.Itoa(statuses[slug]) + ` | <a id="` + slug + `"></a>`
		if !strings.Contains(string(readme), row) {
			t.Errorf("the README has no row that begins with %s", row)
		}
	}
}
