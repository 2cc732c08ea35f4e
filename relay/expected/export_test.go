package expected

import (
	"testing"
	"time"
)

// Hurry shortens how long a claim lasts, and how long a bucket is waited for.
func (r *Reconciler) Hurry(d time.Duration) { r.lease, r.reopenAfter = d, d }

// Interval returns how long it is until a task is asked for that has been so often.
func (r *Reconciler) Interval(asked int) time.Duration { return r.interval(asked) }

// Await waits until so many tasks are outstanding, and fails the test after half a minute.
func (r *Reconciler) Await(t *testing.T, tasks int) {
	t.Helper()
	for late := time.Now().Add(30 * time.Second); len(r.tasks.outstanding()) != tasks; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%d tasks are outstanding, not %d", len(r.tasks.outstanding()), tasks)
		}
	}
}
