package receiver

import (
	"crypto/tls"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

const (
	// maxReadHeaderTimeout and maxReadTimeout bound how long a sender may take for
	// its headers and for its whole request: a webhook has a few hundred bytes.
	maxReadHeaderTimeout = 5 * time.Second
	maxReadTimeout       = 10 * time.Second
	// minReadTimeout is what a sender has in any case: less would cut off good
	// ones whenever their network or this machine is busy.
	minReadTimeout = time.Second
	// maxHeaderBytes bounds the headers of one request (the library adds 4 KiB).
	maxHeaderBytes = 16 << 10
	// writeGrace is what an answer may take beyond the budget for its webhook.
	writeGrace = 5 * time.Second
	// stallTimeout is how long a sender in HTTP/2 may take none of what is written
	// to it. The library's timeouts for answers do not end such connections, since
	// all that they do is write.
	stallTimeout = 5 * time.Second

	// maxStreams is how many requests there may be at once on one connection in HTTP/2.
	// The library keeps each that nobody lets it answer, with its headers. A balancer
	// that needs more opens another connection; over a single one these are some
	// thousand webhooks a second.
	maxStreams = 16
	// maxFrameBytes is the largest frame that is taken, in bytes, and the least that
	// HTTP/2 allows: a connection keeps a buffer of the largest that has come.
	maxFrameBytes = 16 << 10
	// receiveWindow is how much of the bodies on one connection may wait to be read, in
	// bytes, in all and of each: with none the protocol begins. They are read at once
	// unless they are refused.
	receiveWindow = 64 << 10
)

// readTimeout leaves half of the budget of a webhook for storing it, however
// slowly its body comes.
func (rc *Receiver) readTimeout() time.Duration {
	return min(maxReadTimeout, max(minReadTimeout, rc.cfg.PublishTimeout/2))
}

// Server makes the HTTP server of the webhook endpoint, with timeouts for
// header, body, answer and idling. It speaks HTTP/1 and HTTP/2. A nil tlsConfig
// means plain HTTP, with HTTP/2 for whoever begins with it (prior knowledge).
func (rc *Receiver) Server(tlsConfig *tls.Config) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(tlsConfig == nil)
	return &http.Server{
		Protocols:         protocols,
		Handler:           rc,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: min(maxReadHeaderTimeout, rc.readTimeout()),
		ReadTimeout:       rc.readTimeout(),
		WriteTimeout:      rc.readTimeout() + rc.cfg.PublishTimeout + writeGrace, // refusals have less
		IdleTimeout:       rc.cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrameBytes,
			MaxReceiveBufferPerConnection: receiveWindow, MaxReceiveBufferPerStream: receiveWindow,
			WriteByteTimeout: stallTimeout,
		},
		// Or the library would answer 'OPTIONS *' with 200 by itself.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(libraryLog{rc.log}, "", 0),
	}
}

// libraryLog takes what the library has to say. That is about connections, such
// as failed TLS handshakes, which anybody can cause: at the level debug it goes.
//
// What the library repeats of a connection it puts in quotes, and that may be
// the line of a request with its token: the text ends there.
type libraryLog struct{ log *slog.Logger }

func (l libraryLog) Write(line []byte) (int, error) {
	text, _, repeats := strings.Cut(strings.TrimSpace(string(line)), `"`)
	if repeats {
		text += "(not shown)"
	}
	l.log.Debug(text)
	return len(line), nil
}
