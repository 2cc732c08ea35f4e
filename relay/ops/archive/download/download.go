// Package download fetches files from addresses that nobody vouches for: webhooks are not
// signed, so that what stands in them can be anybody's.
//
// What may be asked for is judged twice: the address of each hop by what it says, and each
// connection by the address that it is really made to. No hop learns of the one before it, and
// none is sent a credential.
package download

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// maxRedirects is how often an address may lead on to another one.
	maxRedirects = 3

	// defaultSilence is Options.Silence's.
	defaultSilence = 30 * time.Second
)

// Options are what a client is made of.
type Options struct {
	// Hosts say from where files may come; the addresses of those that have no scheme must
	// be public at the moment of dialling.
	Hosts config.Origins
	// MaxBytes bounds a file.
	MaxBytes int64
	// UseProxy: by the proxies that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name, which are
	// read once in a process. Then it is they who look names up, and have to keep private
	// addresses out, and their own may be private.
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
	// RetryAfter is how long the origin asks to be left alone, an hour at the most; 0 if it
	// does not.
	RetryAfter time.Duration
}

// Error returns the detail.
func (e *Error) Error() string { return e.Detail }

// Client fetches files. It may be used by many goroutines.
type Client struct {
	o     Options
	judge judge
	// Each makes connections of its own, so that none is used for what it was not made for.
	public, asItStands, proxied *http.Transport
	// proxy says which proxy is for a request; nil where none is for any.
	proxy func(*http.Request) (*url.URL, error)
}

// New returns a client. Close it in the end.
func New(o Options) *Client {
	if o.Silence == 0 {
		o.Silence = defaultSilence
	}
	c := &Client{o: o}
	if o.UseProxy {
		c.proxy = http.ProxyFromEnvironment
	}
	c.setUp(newGuard())
	return c
}

// setUp makes what connects, with a guard of what is public.
func (c *Client) setUp(g guard) {
	c.judge = judge{c.o.Hosts, g}
	c.public = c.newTransport(g.control)
	c.asItStands = c.newTransport(nil)
	c.proxied = c.newTransport(nil)
	c.proxied.Proxy = c.mustProxy
	c.proxied.OnProxyConnectResponse = proxyAnswer
}

// Close ends the connections that nobody uses.
func (c *Client) Close() {
	c.public.CloseIdleConnections()
	c.asItStands.CloseIdleConnections()
	c.proxied.CloseIdleConnections()
}

// Open asks for a file, and follows up to three redirects. A file comes as its origin sends
// it: where that has encoded it without being asked to (Content-Encoding), it stays encoded.
//
// Its error is an [*Error], or the cause of ctx's end; that ends the reading, too.
func (c *Client) Open(ctx context.Context, address string) (*File, error) {
	t := &trip{client: c}
	for range 1 + maxRedirects {
		u, asItStands, fault := c.judge.address(address)
		if fault != nil {
			return nil, t.misled(fault)
		}
		t.hops = append(t.hops, u)
		f, next, err := t.ask(ctx, u, asItStands)
		if err != nil {
			return nil, t.failed(ctx, err)
		}
		if f != nil {
			return f, nil
		}
		address = next
	}
	return nil, t.fault(&Error{Reason: schema.ReasonTooManyRedirects, Detail: fmt.Sprintf("it leads on to yet another address: %d redirects are followed, and no more", maxRedirects)})
}

// File is a file on its way. Its Read ends in io.EOF only when the file is whole, and
// otherwise in an [*Error], or in the cause of the end of Open's ctx.
type File struct {
	io.ReadCloser
	// Length is how many bytes the origin has promised; -1 if it has not.
	Length int64
}
