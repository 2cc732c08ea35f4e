package receiver

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"
)

const (
	// readHeaderTimeout and readTimeout bound how long a sender may take for its
	// headers and for its whole request: a webhook has a few hundred bytes.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	// idleTimeout is how long a connection without a request is kept.
	idleTimeout = 2 * time.Minute
	// maxHeaderBytes bounds the headers of one request (the library adds 4 KiB).
	maxHeaderBytes = 16 << 10
	// writeGrace is what an answer may take beyond the budget for its webhook.
	writeGrace = 5 * time.Second
)

// Server makes the HTTP server of the webhook endpoint, with timeouts for
// header, body, answer and idling. A nil tlsConfig means plain HTTP.
func (rc *Receiver) Server(tlsConfig *tls.Config) *http.Server {
	return &http.Server{
		Handler:           rc,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + rc.cfg.PublishTimeout + writeGrace,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Or the library would answer 'OPTIONS *' with 200 by itself.
		DisableGeneralOptionsHandler: true,
		// What the library has to say is about connections, such as failed TLS
		// handshakes, which anybody can cause.
		ErrorLog: slog.NewLogLogger(rc.log.Handler(), slog.LevelDebug),
	}
}
