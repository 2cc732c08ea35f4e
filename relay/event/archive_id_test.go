package event

import "testing"

// What is told of a task in an archive is found by its id, whatever the task is called.
func TestParseArchiveID(t *testing.T) {
	t.Parallel()
	for _, task := range []string{"task_1", "x.archived", "a.archive-failed", "..", "a:b"} {
		for _, to := range []string{"nats:FILES", "s3://b/a@b", "file:///x"} {
			for _, failed := range []bool{false, true} {
				id := ArchiveID(task, to, failed)
				gotTask, gotTarget, gotFailed, ok := ParseArchiveID(id)
				if gotTask != task || gotTarget != to || gotFailed != failed || !ok {
					t.Errorf("%s is of the task %q at %q, failed %t, %t", id, gotTask, gotTarget, gotFailed, ok)
				}
			}
		}
	}
	for _, id := range []string{"", "task_1", "task_1@x", ".archived@x", "task 1.archived@x", "task_1.archived"} {
		if task, _, _, ok := ParseArchiveID(id); ok {
			t.Errorf("%q is of the task %q", id, task)
		}
	}
}
