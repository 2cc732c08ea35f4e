package event

import "testing"

func TestCopyID(t *testing.T) {
	t.Parallel()
	for n, want := range []string{"task_1", "task_1~1", "task_1~2"} {
		id := CopyID("task_1", n)
		if id != want || TaskIDOf(id) != "task_1" {
			t.Errorf("copy %d is %s of %s, want %s", n, id, TaskIDOf(id), want)
		}
	}
}
