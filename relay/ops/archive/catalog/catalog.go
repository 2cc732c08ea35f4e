// Package catalog knows where in the archive the files of a task are: from what the archive has
// told of it in its stream.
//
// Whoever may publish to that stream can write there what he likes. So a location is taken only
// where it is that of a file of this very task, and what is read there is to be compared with
// the digest.
package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

// maxReports bounds what is read of one task: the newest.
const maxReports = 20

// ErrNoArchive is returned where there is no stream in which an archive could have told anything.
// Use it with errors.Is.
var ErrNoArchive = errors.New("the broker has no stream " + schema.DefaultArchive + ", so nothing is archived: 'apixo-relay archive' makes it")

// Task is what the archive has told of a task.
type Task struct {
	ID string
	// Reports are those of which the rest was made, the newest first.
	Reports []Report
	// Files are in the order of their numbers.
	Files []File
	// Failures are the addresses of which there is no file.
	Failures []Failure
	// Refused says, a line each, what in the archive's stream is not made use of, and why. It
	// has text from strangers in it.
	Refused []string
}

// Report is one event of an archive.
type Report struct {
	Sequence uint64
	// Target is where the archive stores, as it says itself.
	Target string
	// At is when it told that.
	At time.Time
	// Failed: there are addresses whose files are not in it.
	Failed bool
	// Reason is the event's, schema.ReasonNoAddresses for instance.
	Reason string
}

// File is a file of a result.
type File struct {
	// Number is its number in the archive, from 1 on, Name how it is called there without
	// that.
	Number int
	Name   string
	// Copies are where it is, one for each target, the one told of last first. There is one at
	// least.
	Copies []Copy
}

// Copy is a file at a target.
type Copy struct {
	schema.ArchivedFile
	// Spec is the target in which it is, Key its key there.
	Spec target.Spec
	Key  string
	// Target is the target as the archive says itself, and At when it told that.
	Target string
	At     time.Time
}

// Failure is an address of which there is no file.
type Failure struct {
	schema.ArchiveFailure
	// Target is where it was to be stored, and At when that was told.
	Target string
	At     time.Time
}

// Whole reports whether some archive has all files of the task.
func (t *Task) Whole() bool {
	return slices.ContainsFunc(t.Reports, func(r Report) bool { return !r.Failed })
}

// Subjects are those of what an archive tells.
func Subjects(cfg config.Config) []string { return []string{schema.ArchiveSubjects(cfg.Stream.Prefix)} }

func selection(cfg config.Config) streamreader.Selection {
	return streamreader.Selection{Domain: cfg.Stream.Domain, Stream: schema.DefaultArchive, Subjects: Subjects(cfg)}
}

// inWords makes of the error of a reader that of this package.
func inWords(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return ErrNoArchive
	}
	return err
}

// Read returns what the archive tells of a task in the messages at these sequences; those that
// are about another task, or not there any more, are passed over. The error is ErrNoArchive, or
// says why the messages cannot be read, and what to do.
func Read(ctx context.Context, conn *nats.Conn, cfg config.Config, taskID string, sequences []uint64) (Task, error) {
	t := Task{ID: taskID}
	sequences = slices.Sorted(slices.Values(sequences))
	slices.Reverse(sequences)
	told := make(map[string]bool)
	for _, sequence := range slices.Compact(sequences) {
		if len(told) == maxReports {
			break
		}
		m, err := streamreader.Get(ctx, conn, selection(cfg), sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		} else if err != nil {
			return Task{}, inWords(err)
		}
		messageID := m.Header.Get(jetstream.MsgIDHeader)
		if id, _, _, ok := event.ParseArchiveID(messageID); !ok || id != taskID || told[messageID] {
			continue // another task's, or told again since
		}
		told[messageID] = true
		t.add(m, messageID)
	}
	t.complete()
	return t, nil
}

// add adds what an event tells, which is older than all before.
func (t *Task) add(m streamreader.Message, messageID string) {
	_, to, failed, _ := event.ParseArchiveID(messageID)
	refuse := func(err error) {
		t.Refused = append(t.Refused, fmt.Sprintf("message %d of the stream %s: %v", m.Sequence, schema.DefaultArchive, err))
	}
	if m.Err != nil {
		refuse(m.Err)
		return
	}
	data, err := m.Event.Archived()
	switch {
	case err != nil:
		refuse(err)
		return
	case data.ID != t.ID || m.Event.ID != messageID:
		refuse(fmt.Errorf("its id says that it is about %s, and its data are about %q", t.ID, data.ID))
		return
	}
	t.Reports = append(t.Reports, Report{Sequence: m.Sequence, Target: to, At: m.Stored, Failed: failed, Reason: m.Event.Reason()})
	for _, f := range data.Files {
		if err := t.addFile(f, to, m.Stored); err != nil {
			refuse(err)
		}
	}
	for _, f := range data.Failures {
		t.Failures = append(t.Failures, Failure{f, to, m.Stored})
	}
}

func (t *Task) addFile(f schema.ArchivedFile, to string, at time.Time) error {
	spec, key, err := target.ParseLocation(f.Location, t.ID)
	if err != nil {
		return err
	}
	number, name, err := parseName(path.Base(key))
	if err != nil {
		return fmt.Errorf("the location %q: %w", f.Location, err)
	}
	i := slices.IndexFunc(t.Files, func(known File) bool { return known.Number == number })
	if i < 0 {
		i = len(t.Files)
		t.Files = append(t.Files, File{Number: number, Name: name})
	}
	file := &t.Files[i]
	if !slices.ContainsFunc(file.Copies, func(known Copy) bool { return known.Location == f.Location }) {
		file.Copies = append(file.Copies, Copy{f, spec, key, to, at})
	}
	return nil
}

// parseName takes apart what a file is called in the archive.
func parseName(base string) (number int, name string, err error) {
	digits, name, ok := strings.Cut(base, "-")
	number, err = strconv.Atoi(digits)
	if !ok || err != nil || number < 1 || name == "" {
		return 0, "", fmt.Errorf("%q is no number, a dash and a name", base)
	}
	return number, name, nil
}

// complete puts files in their order, and leaves out the failures of addresses that some archive
// has.
func (t *Task) complete() {
	slices.SortFunc(t.Files, func(a, b File) int { return cmp.Compare(a.Number, b.Number) })
	seen := make(map[string]bool)
	for _, f := range t.Files {
		for _, c := range f.Copies {
			seen[c.URL] = true
		}
	}
	t.Failures = slices.DeleteFunc(t.Failures, func(f Failure) bool {
		if f.URL == "" {
			return t.Whole() // it is about several
		}
		told := seen[f.URL]
		seen[f.URL] = true // by the newest
		return told
	})
}
