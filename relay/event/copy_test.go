package event_test

import (
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

func TestCopyID(t *testing.T) {
	t.Parallel()
	for n, want := range []string{"task_1", "task_1~1", "task_1~2"} {
		id := event.CopyID("task_1", n)
		if id != want || event.TaskIDOf(id) != "task_1" {
			t.Errorf("copy %d is %s of %s, want %s", n, id, event.TaskIDOf(id), want)
		}
	}
	for _, id := range []string{"", "task_1", "~", "other~id", "other~1~a"} {
		if got := event.TaskIDOf(id); got != id {
			t.Errorf("the task of %q is %q", id, got)
		}
	}
}
