package faults

import (
	"strconv"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/hostile"
)

// The judge of what is sent at random has to be right about what is sent on purpose.
func TestJudge(t *testing.T) {
	t.Parallel()
	for _, p := range hostile.New().Plain {
		status, task := judge([]byte(p.Body))
		want, _, _ := strings.Cut(p.Want, " ")
		if strconv.Itoa(status) != want || (task != "") != (want == "200") {
			t.Errorf("%s: judged %d, task %q; want %s", p.Name, status, task, p.Want)
		}
	}
}
