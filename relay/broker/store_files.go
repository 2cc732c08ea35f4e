package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/apixo-relay/apixo-relay/relay/descriptors"
)

// storeFiles tells whether the files of an embedded server are where its next start
// looks for them. A server goes on writing to files that somebody has removed, moved
// away or mounted something over, and acknowledges what nobody will find.
//
// What an operator does through JetStream is no such thing: a stream that is deleted
// or purged loses its files by the server's own hand.
type storeFiles struct {
	server  *server.Server
	streams string // the folder of all streams
	lock    string
	held    fs.FileInfo // of the file that is locked

	mu    sync.Mutex
	known map[string]*streamFiles
}

// streamFiles are those of a stream, as the last look saw them.
type streamFiles struct {
	folder string

	mu     sync.Mutex
	looked time.Time // when the last look began
	err    error     // what it found
	// settled is the folder of the blocks if nothing in it has changed since, else nil.
	settled fs.FileInfo
	seen    bool
	blocks  map[string]bool
	state   server.StreamState
}

// goneError says that files are not there any more.
type goneError struct {
	path string
	what string
}

// Error names the path, and what is the matter with it.
func (e *goneError) Error() string {
	return fmt.Sprintf("%s %s: what was stored there is not found again", e.path, e.what)
}

// errDeleted is that of a stream which the server does not have.
var errDeleted = errors.New("the stream was deleted")

func newStoreFiles(s *server.Server, store string, lock *flock.Flock) (*storeFiles, error) {
	held, err := lock.Stat()
	if err != nil {
		return nil, fmt.Errorf("the lock of RELAY_DATA_DIR cannot be looked at: %w", err)
	}
	p := &storeFiles{
		server: s, lock: lock.Path(), held: held, known: make(map[string]*streamFiles),
		streams: filepath.Join(store, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams"),
	}
	return p, p.checkLock()
}

// check returns an error unless the files of a stream are there: a *goneError if only
// a restart mends that, and another one if they cannot be looked at for want of
// descriptors. Those who ask while a look is under way share the next one.
func (p *storeFiles) check(stream string) error {
	p.mu.Lock()
	f := p.known[stream]
	if f == nil {
		f = &streamFiles{folder: filepath.Join(p.streams, stream, "msgs")}
		p.known[stream] = f
	}
	p.mu.Unlock()
	asked := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.looked.After(asked) {
		return f.err
	}
	f.looked, f.err = time.Now(), nil
	if f.isSettled() {
		return nil // and so is all that the folder lies in
	}
	if f.err = p.checkLock(); f.err == nil {
		f.refresh(func() (*server.StreamDetail, error) { return p.detail(stream) })
	}
	return f.err
}

// checkAll is check for every stream that the server has.
func (p *storeFiles) checkAll() error {
	streams, err := p.details()
	if err != nil {
		return nil // the server's own health says why
	}
	if err := p.checkLock(); err != nil {
		return err
	}
	for _, s := range streams {
		if err := p.check(s.Name); err != nil && !errors.Is(err, errDeleted) && !descriptors.IsLimitError(err) {
			return err
		}
	}
	return nil
}

// checkLock looks whether the folder is the one that is locked: in another one under
// its name, another relay may be at work.
func (p *storeFiles) checkLock() error {
	info, err := os.Stat(p.lock)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &goneError{p.lock, "was removed, or moved away"}
	case err != nil:
		return &goneError{p.lock, "cannot be looked at: " + err.Error()}
	case !os.SameFile(info, p.held):
		return &goneError{p.lock, "is not the file that this relay has locked"}
	}
	return nil
}

// hasMeta reports whether the folder of a stream says that it is one. When the server
// deletes a stream that goes first, and files may be left for a while.
func (p *storeFiles) hasMeta(stream string) bool {
	_, err := os.Stat(filepath.Join(p.streams, stream, server.JetStreamMetaFile))
	return err == nil
}

// details are the server's streams.
func (p *storeFiles) details() ([]server.StreamDetail, error) {
	account, err := p.server.JszAccount(&server.JSzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Streams: true, Config: true})
	if err != nil {
		return nil, err
	}
	return account.Streams, nil
}

func (p *storeFiles) detail(stream string) (*server.StreamDetail, error) {
	streams, err := p.details()
	if err != nil {
		return nil, err
	}
	for i := range streams {
		if streams[i].Name == stream {
			return &streams[i], nil
		}
	}
	return nil, errDeleted
}

// isSettled reports whether nothing has changed since the last look. Lock held.
func (f *streamFiles) isSettled() bool {
	if f.settled == nil {
		return false
	}
	info, err := os.Stat(f.folder)
	return err == nil && os.SameFile(info, f.settled) && info.ModTime().Equal(f.settled.ModTime())
}

const (
	// A purge and a deletion replace a stream's folder, which is not there for a moment.
	refreshTries = 20
	refreshPause = 5 * time.Millisecond
	// Times of change are only so exact, and on some file systems whole seconds: what
	// was changed just now may change again, and still tell the same time.
	justNow       = 50 * time.Millisecond
	justNowCoarse = 2500 * time.Millisecond
)

// refresh looks at the files until they are there, or too often. Lock held.
func (f *streamFiles) refresh(detail func() (*server.StreamDetail, error)) {
	for try := range refreshTries {
		if try > 0 {
			time.Sleep(refreshPause)
		}
		f.looked = time.Now()
		if f.err = f.refreshOnce(detail); f.err == nil || errors.Is(f.err, errDeleted) {
			return
		}
	}
}

func (f *streamFiles) refreshOnce(detail func() (*server.StreamDetail, error)) error {
	f.settled = nil
	// What the server has now has to be there afterwards.
	stream, err := detail()
	if err != nil {
		return err
	}
	info, err := os.Stat(f.folder)
	if err != nil {
		return &goneError{f.folder, "was removed, or moved away"}
	}
	entries, err := os.ReadDir(f.folder)
	switch {
	case descriptors.IsLimitError(err):
		return fmt.Errorf("%s cannot be looked at now: %w", f.folder, err)
	case err != nil:
		return &goneError{f.folder, "cannot be read: " + err.Error()}
	}
	blocks, bytes := make(map[string]bool), uint64(0)
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".blk" {
			continue
		}
		blocks[entry.Name()] = true
		if block, err := entry.Info(); err == nil {
			bytes += uint64(block.Size())
		}
	}
	if name := f.missing(blocks, stream.State); name != "" && bytes < stream.State.Bytes {
		return &goneError{filepath.Join(f.folder, name), "was removed"}
	}
	f.seen, f.blocks, f.state = true, blocks, stream.State
	exactness := justNow
	if info.ModTime().Nanosecond() == 0 {
		exactness = justNowCoarse
	}
	if f.looked.Sub(info.ModTime()).Abs() > exactness {
		f.settled = info
	}
	return nil
}

// missing returns a block that was there at the last look and is not, though no
// message has left the stream since: with its messages the server removes a block
// itself. A stream that has messages has a block.
func (f *streamFiles) missing(blocks map[string]bool, now server.StreamState) string {
	if now.Msgs > 0 && len(blocks) == 0 {
		return "*.blk"
	}
	left := now.LastSeq-f.state.LastSeq != now.Msgs-f.state.Msgs
	if !f.seen || left {
		return ""
	}
	for name := range f.blocks {
		if !blocks[name] {
			return name
		}
	}
	return ""
}
