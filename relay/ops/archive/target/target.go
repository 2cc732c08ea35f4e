// Package target has the places where an archive's files are: a JetStream object store, an
// S3 bucket, or a folder.
//
// Whatever happens, a key has a whole file or none. What is stored survives a crash of this
// program when Put returns.
package target

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrNotFound is returned for a key that a target does not have. Use it with errors.Is.
var ErrNotFound = errors.New("there is no such file in the archive")

// Target stores files by key. Its methods may be called by many goroutines.
//
// Errors that are not ErrNotFound, the reader's, or about ctx say what is wrong with the target,
// and what to do, without secrets; later the same may work.
type Target interface {
	// String returns the target as [Parse] takes it, without secrets.
	String() string
	// Location returns the place of a key, as package schema describes that of a file.
	Location(key string) string
	// Stat returns what is stored at a key. It may have to read all of it.
	Stat(ctx context.Context, key string) (Object, error)
	// Put stores what r has until its end, in bounded memory. An error of r is returned, and
	// then nothing has changed. Object says what was stored.
	Put(ctx context.Context, key string, r io.Reader, meta Meta) (Object, error)
	// Get reads what is stored at a key. The caller closes it.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	// Clean removes what programs have left that were killed while they stored: parts of
	// files, none of which anybody works on any more.
	Clean(ctx context.Context) error
	// Close frees what the target holds.
	Close() error
}

// Meta is what is stored with a file, where the target can.
type Meta struct {
	// Source is the address that it came from. Of it a digest is stored: it can hold a
	// signature.
	Source string
	// MediaType is the media type.
	MediaType string
}

// Object is a stored file.
type Object struct {
	Bytes int64
	// SHA256 is the digest in hexadecimal digits.
	SHA256 string
	// MediaType is what it was stored with or, where the target keeps none, what it begins
	// like.
	MediaType string
	// IsFrom reports whether it was stored as coming from an address; nil where the target
	// does not keep that.
	IsFrom func(source string) bool
}

// Options are what targets need beyond their names.
type Options struct {
	// JetStream has object stores. It may be nil for other targets.
	JetStream jetstream.JetStream
	// MaxAge, MaxBytes and Replicas are those of an object store that is made: after how
	// long it deletes files, how much it takes, and how many servers keep it. 0 means for
	// ever, no bound, and one.
	MaxAge   time.Duration
	MaxBytes int64
	Replicas int
	// ReadOnly: nothing is made or changed.
	ReadOnly bool
	// Environ is where AWS_ variables are looked up, in the form of os.Environ.
	Environ []string
	// LargestFile is what a file can have at the most, in bytes.
	LargestFile int64
	// Abandoned is how long ago somebody has worked last on what Clean removes; 0 means an hour,
	// and for S3, which tells only when an upload has begun, a day.
	Abandoned time.Duration
	// Log is told what was made, and what was removed; nil means nobody.
	Log *slog.Logger
}

// Open opens a target. Unless ReadOnly, it makes an object store or a folder that is missing, and
// an S3 bucket not. The caller closes the target.
func (s Spec) Open(ctx context.Context, o Options) (Target, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	switch s.scheme {
	case schemeNATS:
		return openObjectStore(ctx, s, o)
	case schemeS3:
		return openS3(ctx, s, o)
	case schemeFile:
		return openFolder(s, o)
	}
	return nil, errors.New("no target is named; see Parse")
}

// errReadOnly is returned where something would be changed.
var errReadOnly = errors.New("the archive was opened for reading only")
