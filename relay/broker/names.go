package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/apixo-relay/apixo-relay/relay/descriptors"
)

// names keeps the names of a store's files.
//
// To fsync a file is to keep what is in it, and not that it has a name: POSIX
// leaves that to an fsync of its folder. nats-server fsyncs a stream's files, but
// no folder when it begins a new one (2.15.2, filestore.go, newMsgBlockForWrite).
// ext4, XFS and Btrfs keep the name of a new file with the file; elsewhere all
// that it holds could be gone after a loss of power.
type names struct {
	store string // the server's folder

	mu      sync.Mutex
	streams map[string]*streamNames
	broken  error // an fsync that failed, after which nothing is known any more
}

// streamNames are the folders in which a stream's files have their names. Those
// who ask while a look is under way share the next one.
type streamNames struct {
	// What only whoever looks uses: the folders, from the outermost to the innermost,
	// and whether all are kept.
	folders []*folder
	kept    bool

	mu          sync.Mutex
	looked      *sync.Cond
	looking     bool
	begun, done uint64 // looks
	err         error  // of the last
}

// errGone is that of a stream whose folder is not there any more: it was deleted,
// or somebody has removed its files.
var errGone = errors.New("the stream has lost its files")

// folder is one whose names are to be kept.
type folder struct {
	path string
	// once: its names do not change after the first look.
	once bool
	// kept: what info says was fsynced.
	kept bool
	info fs.FileInfo
}

func newNames(store string) *names {
	return &names{store: store, streams: make(map[string]*streamNames)}
}

// keep returns when all names are durable that a stream's files had when it was
// called.
func (n *names) keep(stream string) error {
	n.mu.Lock()
	s, err := n.streams[stream], n.broken
	if s == nil {
		s = n.newStream(stream)
		n.streams[stream] = s
	}
	n.mu.Unlock()
	if err != nil {
		return err
	}
	if err = s.keep(); err != nil && !errors.Is(err, errGone) && !descriptors.Scarce(err) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.broken = err
	}
	return err
}

// health is nil as long as every fsync succeeded: the next one would not tell any
// more what the failed one has lost.
func (n *names) health() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.broken
}

// newStream knows where nats-server keeps the streams of the account that there is
// without accounts.
func (n *names) newStream(stream string) *streamNames {
	account := filepath.Join(n.store, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT)
	streams := filepath.Join(account, "streams")
	s := &streamNames{folders: []*folder{
		{path: n.store, once: true}, {path: filepath.Dir(account), once: true}, {path: account, once: true},
		{path: streams}, {path: filepath.Join(streams, stream)}, {path: filepath.Join(streams, stream, "msgs")},
	}}
	s.looked = sync.NewCond(&s.mu)
	return s
}

// keep looks at the folders, or waits for a look that begins from now on.
func (s *streamNames) keep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := s.begun + 1
	for s.done < mine {
		if s.looking {
			s.looked.Wait()
			continue
		}
		s.looking = true
		s.begun++
		s.mu.Unlock()
		err := s.look()
		s.mu.Lock()
		s.looking, s.done, s.err = false, s.begun, err
		s.looked.Broadcast()
	}
	return s.err
}

// A purge replaces a stream's folder, which is not there for a moment. Descriptors may be
// used up for a moment, too.
const (
	goneTries = 20
	gonePause = 5 * time.Millisecond
)

func (s *streamNames) look() (err error) {
	for range goneTries {
		if err = s.lookOnce(); !errors.Is(err, errGone) && !descriptors.Scarce(err) {
			return err
		}
		time.Sleep(gonePause)
	}
	return err
}

// lookOnce looks at the innermost folder alone as long as that is the one that was
// kept, in all that it lies in: those have nothing else that its files need.
func (s *streamNames) lookOnce() error {
	if s.kept && s.folders[len(s.folders)-1].unchanged() {
		return nil
	}
	s.kept = true
	for _, f := range s.folders {
		if err := f.keep(); err != nil {
			s.kept = false
			return err
		}
		s.kept = s.kept && f.kept
	}
	return nil
}

// unchanged reports whether the folder is still as it was kept.
func (f *folder) unchanged() bool {
	info, err := os.Stat(f.path)
	return err == nil && f.kept && f.says(info)
}

// says reports whether that is what was kept.
func (f *folder) says(info fs.FileInfo) bool {
	return os.SameFile(info, f.info) && info.ModTime().Equal(f.info.ModTime())
}

// Times of change are only so exact: a folder that was changed just now may change
// again and still tell the same time. Some file systems count whole seconds.
const (
	recent       = 50 * time.Millisecond
	recentCoarse = 2500 * time.Millisecond
)

// keep fsyncs the folder if its names may have changed since the last time.
func (f *folder) keep() error {
	if f.kept && f.once {
		return nil
	}
	now := time.Now()
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.info == nil:
		return nil // a stream in memory
	case errors.Is(err, fs.ErrNotExist):
		// The server goes on writing to files that have no name any more.
		f.kept = false
		return fmt.Errorf("%w: the folder %s is gone, and with it what was stored", errGone, f.path)
	case err != nil:
		return fmt.Errorf("the names of files cannot be kept: %w", err)
	}
	changed := info.ModTime()
	if f.kept && f.says(info) {
		return nil
	}
	if err := syncFolder(f.path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errGone, err)
	} else if err != nil {
		return err
	}
	exactness := recent
	if changed.Nanosecond() == 0 {
		exactness = recentCoarse
	}
	f.info, f.kept = info, now.Sub(changed).Abs() > exactness
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // which knows no fsync of a folder
	}
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("the names of files cannot be kept: %w", err)
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil // a file system that has no fsync of folders
	}
	if err != nil {
		return fmt.Errorf("the names of files cannot be kept: %w", err)
	}
	return nil
}

// makeFolder makes a folder and those that it lies in, with names that last.
func makeFolder(path string) error {
	parents := []string{filepath.Dir(path)}
	for parent := parents[0]; ; {
		if _, err := os.Stat(parent); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parent = filepath.Dir(parent)
		parents = append(parents, parent)
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return err
	}
	for _, parent := range parents {
		// Who may not read it has not made anything in it now.
		if err := syncFolder(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}
