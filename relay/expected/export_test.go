package expected

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Hurry shortens how long a claim lasts, and how long a bucket or another try
// is waited for.
func (r *Reconciler) Hurry(d time.Duration) { r.lease, r.reopenAfter, r.retryAfter = d, d, d }

// LeaseFor sets how long a task is another relay's to ask for.
func (r *Reconciler) LeaseFor(d time.Duration) { r.lease = d }

// ForgetAfter sets how long markers stay that the bucket does not remove itself.
func (r *Reconciler) ForgetAfter(d time.Duration) { r.forgetAfter = d }

// Interval returns how long it is until a task is asked for that has been so often.
func (r *Reconciler) Interval(asked int) time.Duration { return r.interval(asked) }

// Await waits until so many tasks are outstanding, and fails the test after two minutes.
func (r *Reconciler) Await(t *testing.T, tasks int) {
	t.Helper()
	for late := time.Now().Add(2 * time.Minute); len(r.tasks.outstanding()) != tasks; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%d tasks are outstanding, not %d", len(r.tasks.outstanding()), tasks)
		}
	}
}

// Gone waits until the last message on a subject of the bucket is a marker.
func (r *Reconciler) Gone(t *testing.T, subject string, js jetstream.JetStream) {
	t.Helper()
	stream, err := js.Stream(t.Context(), StreamName(r.o.Config.Expect.Bucket))
	if err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		msg, err := stream.GetLastMsgForSubject(t.Context(), subject)
		switch {
		case err == nil && msg.Header.Get("KV-Operation") == "PURGE":
			return
		case time.Now().After(late):
			t.Fatalf("%s is still there: %v", subject, err)
		}
	}
}

// Outstanding returns how many tasks are outstanding.
func (r *Reconciler) Outstanding() int { return r.tasks.len() }

// Fill has the register full.
func (r *Reconciler) Fill() {
	for i := range maxOutstanding {
		r.tasks.put(&entry{id: strconv.Itoa(i), due: time.Now().Add(time.Hour)})
	}
}

// Forgotten waits until nothing is known of any task.
func (r *Reconciler) Forgotten(t *testing.T) {
	t.Helper()
	for late := time.Now().Add(2 * time.Minute); r.tasks.len() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%d tasks are known", r.tasks.len())
		}
	}
}
