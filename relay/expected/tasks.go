package expected

import (
	"container/heap"
	"hash/maphash"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/schema"
)

// entry is an announced task, as the bucket has it.
type entry struct {
	id, key  string
	revision uint64
	task     schema.ExpectedTask // with Announced
	// settled: its event is stored, and the key is to go.
	settled bool
	due     time.Time
	// mismatched: a change of the key has failed, since it is at another revision.
	mismatched bool
}

// tasks are those that are outstanding. They may be used by many goroutines.
type tasks struct {
	mu     sync.Mutex
	byID   map[string]*entry
	due    dueHeap
	stored storedTasks
	gone   []*entry // settled, and still in the bucket
}

func newTasks() *tasks {
	return &tasks{byID: make(map[string]*entry), stored: storedTasks{seed: maphash.MakeSeed()}}
}

// put takes over what the bucket has of a task. It reports whether the task is settled
// already.
func (t *tasks) put(e *entry) (settled bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.putLocked(e)
}

func (t *tasks) putLocked(e *entry) (settled bool) {
	t.byID[e.id] = e // whatever its revision: a bucket that was made anew counts from 1
	if t.stored.has(e.id, time.Now()) {
		e.settled = true
		t.gone = append(t.gone, e)
		return true
	}
	heap.Push(&t.due, dueTask{e.due, e})
	return false
}

// putNew is put for a task that this relay has announced, unless the bucket has told of it.
func (t *tasks) putNew(e *entry) (settled bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if before := t.byID[e.id]; before != nil && before.revision >= e.revision {
		return false
	}
	return t.putLocked(e)
}

// mismatched notes that the key of a task is not at the revision that is known, and reports
// whether it is the second time although the bucket has told nothing of it in between.
func (t *tasks) mismatched(e *entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := e.mismatched
	e.mismatched = true
	return before && t.byID[e.id] == e
}

// continued returns an announcement that does not tell since when it is there. Where its task
// is outstanding already it is looked after as before: who announces it again and again does
// not put off the request. What is of another model begins anew.
func (t *tasks) continued(id string, task schema.ExpectedTask, created time.Time) schema.ExpectedTask {
	t.mu.Lock()
	defer t.mu.Unlock()
	task.Announced = created
	if before := t.byID[id]; before != nil && !before.settled && before.task.Model == task.Model {
		attributes := task.Attributes
		task = before.task
		task.Attributes = attributes
	}
	return task
}

// remove forgets a task that the bucket does not have any more, unless it has a newer
// revision of it, or it is under another key.
func (t *tasks) remove(key, id string, revision uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byID[id]; e != nil && e.key == key && e.revision <= revision {
		delete(t.byID, id)
	}
}

// settle notes that the event of a task is stored. It reports whether a key is to go.
func (t *tasks) settle(id string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stored.add(id, now)
	e := t.byID[id]
	if e == nil || e.settled {
		return false
	}
	e.settled = true
	t.gone = append(t.gone, e)
	return true
}

// takeGone returns the settled tasks whose keys are to go, each once.
func (t *tasks) takeGone() []*entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := t.gone
	t.gone = nil
	return gone
}

// returnGone takes back tasks whose keys could not be removed, unless the bucket has told
// something else of them meanwhile. It reports whether any are left.
func (t *tasks) returnGone(left []*entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range left {
		if t.byID[e.id] == e {
			t.gone = append(t.gone, e)
		}
	}
	return len(t.gone) > 0
}

// isStored reports whether a task's event is known to be stored.
func (t *tasks) isStored(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stored.has(id, time.Now())
}

// isCurrent reports whether a task is outstanding, and as the bucket had it.
func (t *tasks) isCurrent(e *entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[e.id] == e && !e.settled
}

// postpone has a task come again at a time, if it is outstanding still.
func (t *tasks) postpone(e *entry, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[e.id] == e && !e.settled {
		e.due = until
		heap.Push(&t.due, dueTask{until, e})
	}
}

// next returns the next task that is due, or else how long it is until one is: less than 0
// if none will be.
func (t *tasks) next(now time.Time) (*entry, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.due) > 0 {
		first := t.due[0]
		if e := first.entry; t.byID[e.id] != e || e.settled || !e.due.Equal(first.at) {
			heap.Pop(&t.due)
			continue
		}
		if wait := first.at.Sub(now); wait > 0 {
			return nil, wait
		}
		heap.Pop(&t.due)
		return first.entry, 0
	}
	return nil, -1
}

// len returns how many tasks the bucket has.
func (t *tasks) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// count returns how many tasks are outstanding, and how many of them should have ended by
// now.
func (t *tasks) count(after time.Duration, now time.Time) (outstanding, overdue int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.byID {
		if e.settled {
			continue
		}
		outstanding++
		if e.task.Asked > 0 || now.Sub(e.task.Announced) > after {
			overdue++
		}
	}
	return outstanding, overdue
}

// outstanding returns all tasks that are.
func (t *tasks) outstanding() (all []*entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.byID {
		if !e.settled {
			all = append(all, e)
		}
	}
	return all
}

// retain forgets all tasks whose ids are not among those of a bucket that was read whole.
func (t *tasks) retain(ids map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.byID {
		if !ids[id] {
			delete(t.byID, id)
		}
	}
}

// dueTask is a task at a time at which it was due. The task may be due at another by now.
type dueTask struct {
	at    time.Time
	entry *entry
}

// dueHeap implements heap.Interface: the first is the one that is due first.
type dueHeap []dueTask

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) { *h = append(*h, x.(dueTask)) }

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = dueTask{}
	*h = (*h)[:last]
	return x
}

const (
	// storedSize is how many stored tasks are remembered, and storedFor for how long: an
	// announcement comes within seconds of its task's beginning, and an event that somebody
	// has removed meanwhile is to be found missing.
	storedSize = 4096
	storedFor  = time.Hour
)

// storedTasks remembers the last tasks whose events were stored, in a table of a fixed size.
type storedTasks struct {
	seed  maphash.Seed
	table [storedSize]struct {
		hash uint64
		at   int64 // Unix nanoseconds
	}
}

func (s *storedTasks) add(id string, now time.Time) {
	hash := maphash.String(s.seed, id)
	slot := &s.table[hash%storedSize]
	slot.hash, slot.at = hash, now.UnixNano()
}

func (s *storedTasks) has(id string, now time.Time) bool {
	hash := maphash.String(s.seed, id)
	slot := &s.table[hash%storedSize]
	return slot.hash == hash && now.UnixNano()-slot.at < int64(storedFor)
}
