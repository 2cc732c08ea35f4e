package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/catalog"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// reachTimeout bounds how long it takes to see whether a target can be read from here.
const reachTimeout = 2 * time.Second

// archiveView is what the archive has of a task.
type archiveView struct {
	Files    []archivedFile
	Failures []archiveFailure
	// Notes say what there is to know besides, Troubles what cannot be reached or is not made
	// use of.
	Notes, Troubles []string

	task catalog.Task
}

// archivedFile is a file in the archive.
type archivedFile struct {
	Name string
	// Link is where this page serves it; empty where it cannot.
	Link, Kind              string
	Size, MediaType, SHA256 string
	Copies                  []archivedCopy
}

// Short is the beginning of the digest.
func (f archivedFile) Short() string { return f.SHA256[:min(12, len(f.SHA256))] }

// archivedCopy is where a file is.
type archivedCopy struct {
	Location string
	At       time.Time
}

// archiveFailure is an address of which there is no file.
type archiveFailure struct {
	URL, Reason, Detail string
	At                  time.Time
}

// archived is what the archive tells of a task, as far as its stream is known. note says what is
// not; the error that it cannot be read.
func (s *Server) archived(ctx context.Context, id string) (t catalog.Task, note string, err error) {
	sequences, complete := s.feed.Archived(id)
	if !complete && len(sequences) == 0 {
		note = fmt.Sprintf("Not all of the stream %s is known here; 'apixo-relay fetch' looks through all of it.", schema.DefaultArchive)
	}
	if len(sequences) == 0 {
		return catalog.Task{ID: id}, note, nil
	}
	t, err = catalog.Read(ctx, s.conn(), s.cfg, id, sequences)
	if errors.Is(err, catalog.ErrNoArchive) {
		return catalog.Task{ID: id}, "", nil
	}
	return t, note, s.orAway(err)
}

// archiveView makes of what the archive tells what a page shows; nil where it tells nothing.
func (s *Server) archiveView(ctx context.Context, t catalog.Task) *archiveView {
	if len(t.Reports) == 0 && len(t.Refused) == 0 {
		return nil
	}
	v := &archiveView{task: t}
	unreachable := s.unreachable(ctx, t)
	for _, f := range t.Files {
		c := f.Copies[0]
		file := archivedFile{Name: f.Name, Size: humanize.IBytes(uint64(max(c.Bytes, 0))), MediaType: text.Line(c.MediaType), SHA256: text.Line(c.SHA256)}
		for _, c := range f.Copies {
			if unreachable[c.Spec.String()] == nil && file.Link == "" {
				file.Link, file.Kind = filePath(t.ID, f.Number), inlineKind(c.MediaType)
			}
			file.Copies = append(file.Copies, archivedCopy{text.Line(c.Location), c.At})
		}
		v.Files = append(v.Files, file)
	}
	for _, f := range t.Failures {
		v.Failures = append(v.Failures, archiveFailure{text.Line(f.URL), text.Line(f.Reason), shorten(f.Detail), f.At})
	}
	for _, r := range t.Reports {
		if r.Reason == schema.ReasonNoAddresses {
			v.Notes = append(v.Notes, "There are no addresses in the result, so there is nothing to archive.")
			break
		}
	}
	for _, refused := range t.Refused {
		v.Troubles = append(v.Troubles, "Not made use of: "+shorten(refused))
	}
	for to, err := range unreachable {
		v.Troubles = append(v.Troubles, fmt.Sprintf("The files in %s cannot be shown from here: %s. '%s' brings them where they can be reached.", text.Line(to), shorten(err.Error()), fetchCommand(t.ID)))
	}
	slices.Sort(v.Troubles)
	return v
}

// steps are those of a task's life that the archive tells.
func (v *archiveView) steps() (steps []step) {
	for _, r := range v.task.Reports {
		name := "archived"
		if r.Failed {
			name = "archived in part"
			if len(v.task.Files) == 0 {
				name = "not archived"
			}
		}
		steps = append(steps, step{Name: name, At: r.At, Note: "in " + text.Line(r.Target)})
	}
	return steps
}

// fetchCommand brings the files of a task from the archive.
func fetchCommand(id string) string {
	if strings.HasPrefix(id, "-") {
		return "apixo-relay fetch -- " + id
	}
	return "apixo-relay fetch " + id
}

// unreachable are the targets from which the files of a task cannot be had here, and why: the
// first file of each is tried.
func (s *Server) unreachable(ctx context.Context, t catalog.Task) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	first := make(map[string]catalog.Copy)
	for _, f := range slices.Backward(t.Files) {
		for _, c := range f.Copies {
			first[c.Spec.String()] = c
		}
	}
	var (
		mu     sync.Mutex
		trying sync.WaitGroup
		failed = make(map[string]error)
	)
	for to, c := range first {
		trying.Go(func() {
			err := s.targets.failed(to)
			if err == nil {
				err = s.reach(ctx, c)
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[to] = err
			}
		})
	}
	trying.Wait()
	return failed
}

// reach tries whether a file can be had at its target. That it is not there any more says nothing of
// the target.
func (s *Server) reach(ctx context.Context, c catalog.Copy) error {
	body, err := s.openCopy(ctx, c)
	if err == nil {
		_, err = body.Read(make([]byte, 1))
		_ = body.Close()
	}
	switch {
	case err == nil, err == io.EOF, errors.Is(err, target.ErrNotFound), errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("it did not answer within %s", reachTimeout)
	}
	s.targets.fail(c.Spec.String(), err)
	return err
}

// showArchived has what the archive has shown instead of what is at addresses that have expired;
// nil are those that are not known any more.
func (v *taskView) showArchived(addresses []string) {
	a := v.Archive
	if addresses == nil {
		v.Media = make([]medium, min(len(a.Files), maxMedia))
	}
	shown := false
	for i, f := range a.Files {
		at := i
		if addresses != nil {
			at = slices.IndexFunc(addresses, func(address string) bool {
				return slices.ContainsFunc(a.task.Files[i].Copies, func(c catalog.Copy) bool { return c.URL == address })
			})
		}
		if at < 0 || at >= len(v.Media) {
			continue
		}
		m := medium{Text: text.Line(a.task.Files[i].Copies[0].URL), Alt: "result of task " + v.ID + ", from the archive", Archived: true}
		switch {
		case f.Link == "":
			m.Why = "the archive has it, and cannot be reached from here"
		case f.Kind == "":
			m.Why = "the archive has it, as " + f.MediaType
		default:
			m.URL, m.Kind, m.Shown, shown = f.Link, f.Kind, true, true
		}
		v.Media[at] = m
	}
	for i := range min(len(addresses), len(v.Media)) {
		m := &v.Media[i]
		j := slices.IndexFunc(a.task.Failures, func(f catalog.Failure) bool { return f.URL == addresses[i] })
		if !m.Archived && m.Kind != "" && j >= 0 {
			m.Shown, m.Ask, m.Why = false, "", "its address has expired, and the archive does not have it: "+text.Line(a.task.Failures[j].Reason)
		}
	}
	switch {
	case shown && v.Expired != "":
		v.Expired = "APIXO deletes what it has made after 24 hours. What is shown is from the archive."
	case shown:
		v.Expired = "What is shown is from the archive."
	}
}
