package httpclient

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxHeaderBytes bounds the header of an answer.
	maxHeaderBytes = 64 << 10

	// idleTimeout is how long an unused connection is kept: longer than the
	// sender's first retry takes to come, shorter than anybody looks at the program.
	idleTimeout = 90 * time.Second
)

// NewTransport makes a transport that keeps a connection for each of the given
// number of webhooks in flight, speaks HTTP/1.1 and asks for no compression.
// The TLS configuration may be nil; proxy, too, and then none is used. Close
// its idle connections in the end.
func NewTransport(concurrency int, tlsConfig *tls.Config, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            (&net.Dialer{}).DialContext, // bounded by the time for an answer
		TLSClientConfig:        tlsConfig,
		DisableCompression:     true,
		MaxIdleConns:           concurrency,
		MaxIdleConnsPerHost:    concurrency,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// StatusLine is an HTTP status with its meaning, such as "200 OK", or, for
// status 0, the cause.
func StatusLine(status int, cause string) string {
	if status == 0 {
		return cause
	}
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}
