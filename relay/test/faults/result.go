package faults

import "time"

// Result is what a row came to.
type Result struct {
	Row      string `json:"row"`
	Fault    string `json:"fault"`
	Injected string `json:"injected"`
	Status   Status `json:"status"`
	// Rounds is how often the fault was brought about, 0 where that says nothing.
	Rounds int `json:"rounds,omitempty"`
	// Sent counts webhooks, those among them that were sent again, as the sender
	// would, and Accepted those that got 200.
	Sent     int `json:"sent"`
	Accepted int `json:"accepted"`
	// Lost are those that got 200 and are not stored, Twice those stored more than once.
	Lost  Lost `json:"lost"`
	Twice int  `json:"twice"`
	// Control is a row that must lose something, or the suite is blind.
	Control bool `json:"control,omitempty"`
	// Disclosed is a row in which the disk itself loses what was stored. How much of
	// it was lost is a figure, and no broken promise.
	Disclosed bool `json:"disclosed,omitempty"`
	// Slowest is the longest time to an answer, Recovery the longest from the end of
	// a fault to the next 200, 0 where nothing had to recover; both in nanoseconds.
	Slowest  time.Duration `json:"slowest"`
	Recovery time.Duration `json:"recovery"`
	// Notes are what was seen besides, Failures which promises were broken, and
	// NotRun why the fault could not be brought about.
	Notes    []string      `json:"notes,omitempty"`
	Failures []string      `json:"failures,omitempty"`
	NotRun   string        `json:"notRun,omitempty"`
	Took     time.Duration `json:"took"`
	// Commit is that of a row which was run again after the others, else empty.
	Commit string `json:"commit,omitempty"`
}

// Status is what became of a row.
type Status string

// What can become of a row. One whose fault could not be brought about has not
// passed.
const (
	Passed Status = "passed"
	Failed Status = "failed"
	NotRun Status = "not run"
)

// Lost is how many webhooks were lost, and where in the order of their answers
// they lie: before all others of their round, between them, or after them.
type Lost struct {
	Prefix int `json:"prefix"`
	Middle int `json:"middle"`
	End    int `json:"end"`
}

// Total is all of them.
func (l Lost) Total() int { return l.Prefix + l.Middle + l.End }

func (l *Lost) add(m Lost) {
	l.Prefix += m.Prefix
	l.Middle += m.Middle
	l.End += m.End
}
