package ui

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/catalog"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
)

const (
	// maxTargets is how many targets are kept open: events name them, which can have been made up.
	maxTargets = 8
	// unreachableMemory is for how long a target that could not be reached is not tried again for a
	// view, which has to wait for it.
	unreachableMemory = 20 * time.Second
)

// targets are those from which files are read, kept open for the sake of their connections. The
// zero value is ready to use.
type targets struct {
	mu  sync.Mutex
	all map[string]*openTarget
	bad []badTarget // at most maxTargets
}

// badTarget is one that could not be reached.
type badTarget struct {
	name string
	err  error
	at   time.Time
}

// failed returns why a target could not be reached a moment ago; nil if it could, or nobody has tried.
func (ts *targets) failed(name string) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.bad = slices.DeleteFunc(ts.bad, func(b badTarget) bool { return time.Since(b.at) > unreachableMemory })
	for _, b := range ts.bad {
		if b.name == name {
			return b.err
		}
	}
	return nil
}

// fail notes that a target cannot be reached.
func (ts *targets) fail(name string, err error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.bad) < maxTargets {
		ts.bad = append(ts.bad, badTarget{name, err, time.Now()})
	}
}

type openTarget struct {
	target.Target
	users int
	kept  bool
}

// open opens a target, or takes one that is open. The caller releases it.
func (ts *targets) open(ctx context.Context, spec target.Spec, o target.Options) (t *openTarget, err error) {
	name := spec.String()
	ts.mu.Lock()
	if t = ts.all[name]; t != nil {
		t.users++
		ts.mu.Unlock()
		return t, nil
	}
	ts.mu.Unlock()
	opened, err := spec.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	t = &openTarget{Target: opened, users: 1}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.all[name] == nil && len(ts.all) < maxTargets {
		if ts.all == nil {
			ts.all = make(map[string]*openTarget)
		}
		ts.all[name], t.kept = t, true
	}
	return t, nil
}

// release ends the use of a target.
func (ts *targets) release(t *openTarget) {
	ts.mu.Lock()
	t.users--
	unused := t.users == 0 && !t.kept
	ts.mu.Unlock()
	if unused {
		_ = t.Close() // nothing was written
	}
}

// close closes those that are kept, once nobody uses them.
func (ts *targets) close() {
	ts.mu.Lock()
	all := ts.all
	ts.all = nil
	var unused []*openTarget
	for _, t := range all {
		if t.kept = false; t.users == 0 {
			unused = append(unused, t)
		}
	}
	ts.mu.Unlock()
	for _, t := range unused {
		_ = t.Close()
	}
}

// copyBody is a file at its target.
type copyBody struct {
	io.ReadCloser
	release func()
}

// Close implements io.Closer.
func (b copyBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}

// openCopy opens a file at its target.
func (s *Server) openCopy(ctx context.Context, c catalog.Copy) (body copyBody, err error) {
	js, err := jsapi.New(s.conn(), s.cfg.Stream.Domain)
	if err != nil {
		return body, err
	}
	t, err := s.targets.open(ctx, c.Spec, target.Options{JetStream: js, ReadOnly: true, Environ: s.o.Environ, Log: s.o.Log})
	if err != nil {
		return body, s.orAway(err)
	}
	r, err := t.Get(ctx, c.Key)
	if err != nil {
		s.targets.release(t)
		return body, s.orAway(err)
	}
	return copyBody{r, sync.OnceFunc(func() { s.targets.release(t) })}, nil
}
