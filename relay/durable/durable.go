// Package durable makes the messages of an embedded nats-server survive a loss of power.
//
// A server with sync_always fsyncs each message by itself before it acknowledges it. The
// messages of streams that are committed here it only writes (see disableSync). A [Store]
// fsyncs the file before the webhook is answered, by group commit: one fsync is under way at
// a time, and all callers that come meanwhile share the next.
//
//	POST ──> server writes msgs/7.blk ──> acknowledgement
//	                                           │ Commit: fsync msgs/7.blk, and the folder if it has changed
//	200 <──────────────────────────────────────┘
//
// The package relies on the files of the server's file store (2.15.2, filestore.go). Each
// stream has a folder of blocks, msgs/1.blk, 2.blk and so on, and writes to the last. A new
// block changes the folder, so the folder is checked before each fsync. The server does not
// fsync the folder: without a durable directory entry, a file can be lost although all its
// bytes are durable. The server itself makes durable the files that it replaces as a whole,
// such as a compacted block or a configuration, with their directory entries.
package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/apixo-relay/apixo-relay/relay/descriptors"
)

// ErrGone is returned when the files of a stream are not where they were: the stream was
// deleted, or somebody has removed its files.
var ErrGone = errors.New("the stream has lost its files")

// Store is the file store of an embedded server. Its methods may be called by many
// goroutines.
type Store struct {
	folder      string
	disableSync func(stream string)

	mu       sync.Mutex
	streams  map[string]*stream
	observed func(waiting int, took time.Duration)
	broken   error // an fsync that failed
	commits  sync.WaitGroup
}

// New returns the store of a server that runs with sync_always and whose StoreDir is folder.
func New(folder string, s *server.Server, log *slog.Logger) *Store {
	var told sync.Once
	return newStore(folder, func(stream string) {
		if err := disableSync(s, stream); err != nil {
			told.Do(func() { log.Warn("webhooks are slower than they could be", "error", err) })
		}
	})
}

func newStore(folder string, disableSync func(stream string)) *Store {
	return &Store{folder: folder, disableSync: disableSync, streams: make(map[string]*stream), observed: func(int, time.Duration) {}}
}

// Observe has observed called after each later group commit, with the number of callers that
// shared it and its duration. The function must not block.
func (s *Store) Observe(observed func(waiting int, took time.Duration)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed = observed
}

// Commit returns when every message that was written to the stream before the call is
// durable. It returns ctx's error at its deadline, [ErrGone], the error of a lack of
// descriptors (see [descriptors.IsLimitError]), or the error of a failed fsync. After a failed
// fsync all later calls return its error.
func (s *Store) Commit(ctx context.Context, name string) error {
	s.mu.Lock()
	if s.broken != nil {
		defer s.mu.Unlock()
		return s.broken
	}
	st := s.streams[name]
	if st == nil {
		st = newStream(s.folder, name, s.disableSync)
		s.streams[name] = st
	}
	g := st.next
	if g == nil {
		g = &group{done: make(chan struct{})}
		st.next = g
	}
	g.waiting++
	if !st.committing {
		st.committing = true
		s.commits.Go(func() { s.commit(st) })
	}
	s.mu.Unlock()
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return fmt.Errorf("the disk has not written it in time: %w", context.Cause(ctx))
	}
}

// group is the callers that share a commit.
type group struct {
	waiting int
	done    chan struct{} // closed when err is set
	err     error
}

// commit commits for one group after the other, until none waits.
func (s *Store) commit(st *stream) {
	for {
		s.mu.Lock()
		g, observed := st.next, s.observed
		st.next, st.committing = nil, g != nil
		s.mu.Unlock()
		if g == nil {
			return
		}
		begin := time.Now()
		g.err = st.sync()
		observed(g.waiting, time.Since(begin))
		if g.err != nil && !errors.Is(g.err, ErrGone) && !descriptors.IsLimitError(g.err) {
			s.mu.Lock()
			s.broken = g.err
			s.mu.Unlock()
		}
		close(g.done)
	}
}

// Health returns the error of the first failed fsync, or nil. A failed fsync is final: the
// next one would not report what was lost.
func (s *Store) Health() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// Close waits for the commits in progress.
func (s *Store) Close() { s.commits.Wait() }

// stream is one of a server's streams.
type stream struct {
	// Guarded by the store's mutex.
	next       *group
	committing bool

	// Only the commit in progress uses the rest. disableSync is called when anything but messages
	// has changed. folders are the folders of the stream's files, from the outermost to the
	// innermost, which holds the blocks.
	disableSync func()
	folders     []*folder
	synced      bool // all of them
}

// newStream returns a stream of nats-server's global account, by the place of its files.
func newStream(store, name string, disableSync func(string)) *stream {
	account := filepath.Join(store, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT)
	streams := filepath.Join(account, "streams")
	return &stream{disableSync: func() { disableSync(name) }, folders: []*folder{
		{path: store, once: true}, {path: filepath.Dir(account), once: true}, {path: account, once: true}, {path: streams},
		{path: filepath.Join(streams, name)}, {path: filepath.Join(streams, name, "msgs"), blocks: true},
	}}
}

// A purge replaces the folder of the blocks, which is not there for a moment. Descriptors
// may be used up for a moment, too.
const (
	goneTries = 20
	gonePause = 5 * time.Millisecond
)

// sync makes everything durable that was written before the call.
func (st *stream) sync() (err error) {
	for range goneTries {
		if err = st.syncOnce(); !errors.Is(err, ErrGone) && !descriptors.IsLimitError(err) {
			return err
		}
		time.Sleep(gonePause)
	}
	return err
}

// syncOnce fsyncs the last block alone as long as nothing has changed in the folders of
// the stream.
func (st *stream) syncOnce() error {
	own, blocks := st.folders[len(st.folders)-2], st.folders[len(st.folders)-1]
	if st.synced && own.unchanged() && blocks.unchanged() {
		return blocks.syncLast()
	}
	st.synced = true
	for _, f := range st.folders {
		if err := f.sync(); err != nil {
			st.synced = false
			return err
		}
		st.synced = st.synced && f.synced
	}
	st.disableSync()
	return nil
}
