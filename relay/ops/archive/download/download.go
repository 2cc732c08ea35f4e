// Package download fetches files from addresses that nobody vouches for: webhooks are not
// signed, so that what stands in them can be anybody's.
package download

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Options are what a client is made of.
type Options struct {
	// Hosts say from where files may come; the addresses of those that have no scheme must
	// be public at the moment of dialling.
	Hosts config.Origins
	// MaxBytes bounds a file.
	MaxBytes int64
	// UseProxy: by the proxies that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name. Then it is they
	// who look names up, and have to keep private addresses out.
	UseProxy bool
	// Agent names the program to origins.
	Agent string
	// Silence is how long an origin may send next to nothing; 0 means 30 s.
	Silence time.Duration
	// Resolver looks names up; nil means the system's.
	Resolver *net.Resolver
}

// Error says why a file cannot be had.
type Error struct {
	// Reason is one of the reasons of schema.ArchiveFailure.
	Reason string
	// Detail says what happened, in one line without secrets.
	Detail string
	// Temporary: another try may have it.
	Temporary bool
	// RetryAfter is how long the origin asks to be left alone; 0 if it does not.
	RetryAfter time.Duration
}

// Error returns the detail.
func (e *Error) Error() string { return e.Detail }

// Client fetches files. It may be used by many goroutines.
type Client struct {
	o Options
}

// New returns a client.
func New(o Options) *Client { return &Client{o} }

// Close ends the connections that nobody uses.
func (c *Client) Close() {}

// File is a file on its way. Its Read ends in io.EOF only when the file is whole, and
// otherwise in an [*Error], or in the cause of the end of Open's ctx.
type File struct {
	io.ReadCloser
	// Length is how many bytes the origin has promised; -1 if it has not.
	Length int64
}

// Open asks for a file. Its error is an [*Error], or the cause of ctx's end; that ends the
// reading, too.
func (c *Client) Open(ctx context.Context, address string) (*File, error) {
	return nil, &Error{Reason: schema.ReasonUnavailable, Detail: "not yet", Temporary: true}
}
