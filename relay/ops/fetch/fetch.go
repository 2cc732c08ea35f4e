// Package fetch brings the files of tasks back from the archive, checked against the digests
// that the archive has told, into a folder.
//
// It must not know flags or exit codes.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/catalog"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
)

// concurrency is how many files are brought at once.
const concurrency = 8

// Options say what to fetch, and whither.
type Options struct {
	Tasks *tasklist.List
	// Dir is the folder, which is made if it is missing. A task has a folder of its own in it.
	Dir string
	// Environ is where AWS_ variables are looked up, in the form of os.Environ.
	Environ []string
	// OnSearch is told how much of a stream was looked at; it may be nil.
	OnSearch func(read, total uint64)
	// OnFiles is told how many files there are, before the first of them is brought; it may
	// be nil.
	OnFiles func(n int)
	// OnResult is called for each file, and for what there is no file of; not by two goroutines
	// at once. Its error ends the run.
	OnResult func(Result, *Summary) error
	Log      *slog.Logger
}

// Run fetches. Its error is about all of it: what became of each file is told to OnResult, and
// counted in the summary. Where nothing was ever archived it is catalog.ErrNoArchive.
func Run(ctx context.Context, conn *nats.Conn, cfg config.Config, o Options) (Summary, error) {
	js, err := jsapi.New(conn, cfg.Stream.Domain)
	if err != nil {
		return Summary{}, fmt.Errorf("JetStream cannot be used: %w", err)
	}
	r := &run{o: o, conn: conn, cfg: cfg, js: js, targets: make(map[string]opened)}
	r.summary.Tasks = o.Tasks.Len()
	defer r.close()
	began := time.Now()
	err = r.run(ctx)
	r.summary.Seconds = time.Since(began).Seconds()
	if err == nil && ctx.Err() != nil {
		err = errors.New("stopped before the end; run it again, and what is there already stays")
	}
	return r.summary, err
}

// run is one run.
type run struct {
	o    Options
	conn *nats.Conn
	cfg  config.Config
	js   jetstream.JetStream
	root *os.Root // nil before the first file

	mu      sync.Mutex // guards what follows, and calls of OnResult
	summary Summary
	targets map[string]opened
}

// opened is a target, or why it cannot be opened.
type opened struct {
	target.Target
	err error
}

func (r *run) close() {
	for _, t := range r.targets {
		if t.Target != nil {
			_ = t.Close() // nothing was written there
		}
	}
	if r.root != nil {
		_ = r.root.Close()
	}
}

func (r *run) run(ctx context.Context) error {
	ids := make([]string, r.o.Tasks.Len())
	for i := range ids {
		ids[i] = r.o.Tasks.At(i).ID
	}
	found, err := r.find(ctx, false, ids)
	if err != nil {
		return err
	}
	var jobs []job
	for _, id := range ids {
		for _, f := range found[id].Files {
			jobs = append(jobs, job{id: id, file: f})
		}
	}
	if r.o.OnFiles != nil {
		r.o.OnFiles(len(jobs))
	}
	if len(jobs) > 0 {
		if err := r.openFolder(); err != nil {
			return err
		}
	}
	left, err := r.work(ctx, jobs, func(j job) bool { return true })
	if err != nil {
		return err
	}
	if err := r.tryOthers(ctx, left); err != nil {
		return err
	}
	for _, id := range ids {
		if err := r.tellRest(found[id]); err != nil {
			return err
		}
	}
	return r.tellUnknown(ctx, ids, found)
}

// find looks tasks up in the archive's stream.
func (r *run) find(ctx context.Context, all bool, ids []string) (map[string]catalog.Task, error) {
	found, err := catalog.Find(ctx, r.conn, r.cfg, catalog.Options{All: all, Progress: r.o.OnSearch}, ids...)
	if err != nil && ctx.Err() != nil {
		return nil, errors.New("stopped while the archive was looked through; nothing was done")
	}
	return found, err
}

func (r *run) openFolder() (err error) {
	if err = os.MkdirAll(r.o.Dir, 0o755); err == nil {
		r.root, err = os.OpenRoot(r.o.Dir)
	}
	if err != nil {
		return fmt.Errorf("the folder for the files cannot be used: %w", err)
	}
	return nil
}

// job is a file to be brought.
type job struct {
	id   string
	file catalog.File
	// tried are the locations that did not have it, problems what was wrong there.
	tried, problems []string
}

// work brings files, and returns those that some other target may have, if another one is looked
// for.
func (r *run) work(ctx context.Context, jobs []job, another func(job) bool) (left []job, err error) {
	workers, running := errgroup.WithContext(ctx)
	workers.SetLimit(concurrency)
	for _, j := range jobs {
		if running.Err() != nil {
			break
		}
		workers.Go(func() error {
			result := r.bring(running, &j)
			r.mu.Lock()
			defer r.mu.Unlock()
			switch {
			case ctx.Err() != nil && result.Result == Failed:
				return nil // which says nothing about the file
			case result.Result == Failed && len(j.problems) > 0 && another(j):
				left = append(left, j)
				return nil
			}
			return r.tellLocked(result)
		})
	}
	return left, workers.Wait()
}

// tryOthers looks through all of the archive's stream for other targets of files that could not
// be had.
func (r *run) tryOthers(ctx context.Context, left []job) error {
	if len(left) == 0 || ctx.Err() != nil {
		return nil
	}
	var ids []string
	for _, j := range left {
		ids = append(ids, j.id)
	}
	found, err := r.find(ctx, true, ids)
	if err != nil {
		return err
	}
	for i := range left {
		j := &left[i]
		j.file.Copies = nil
		for _, f := range found[j.id].Files {
			if f.Number == j.file.Number {
				j.file.Copies = slices.DeleteFunc(f.Copies, func(c catalog.Copy) bool { return slices.Contains(j.tried, c.Location) })
			}
		}
	}
	_, err = r.work(ctx, left, func(job) bool { return false })
	return err
}

// tellRest tells of what a task has no file.
func (r *run) tellRest(t catalog.Task) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range t.Failures {
		detail := strings.TrimSuffix(f.Reason+": "+f.Detail, ": ")
		if err := r.tellLocked(Result{TaskID: t.ID, Result: NotArchived, URL: f.URL, Error: detail}); err != nil {
			return err
		}
	}
	for _, refused := range t.Refused {
		if err := r.tellLocked(Result{TaskID: t.ID, Result: Failed, Error: refused}); err != nil {
			return err
		}
	}
	if len(t.Reports) > 0 && len(t.Files)+len(t.Failures)+len(t.Refused) == 0 {
		return r.tellLocked(Result{TaskID: t.ID, Result: NoFiles})
	}
	return nil
}

func (r *run) tellLocked(result Result) error {
	r.summary.count(result)
	return r.o.OnResult(result, &r.summary)
}
