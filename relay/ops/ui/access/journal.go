package access

import (
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Of the lines about wrong tokens so many are logged at once, and then one every interval:
// anybody can cause them.
const (
	refusedBurst    = 5
	refusedInterval = 20 * time.Second
)

// journal writes who signs in and out, by the address of the peer: nothing that they bring is
// in it.
type journal struct {
	log     *slog.Logger
	limit   *rate.Limiter
	omitted atomic.Int64 // since the last line
}

func newJournal(log *slog.Logger) *journal {
	return &journal{log: log, limit: rate.NewLimiter(rate.Every(refusedInterval), refusedBurst)}
}

func (j *journal) refused(r *http.Request, now time.Time) {
	if !j.limit.AllowN(now, 1) {
		j.omitted.Add(1)
		return
	}
	attrs := []any{"peer", peer(r)}
	if omitted := j.omitted.Swap(0); omitted > 0 {
		attrs = append(attrs, "omitted", omitted)
	}
	j.log.Warn("a token that is not valid was given to the operator's page", attrs...)
}

func (j *journal) signedIn(r *http.Request) {
	j.log.Info("somebody signed in to the operator's page", "peer", peer(r))
}

func (j *journal) signedOut(r *http.Request) {
	j.log.Info("somebody signed out of the operator's page", "peer", peer(r))
}

// peer is the address of who is connected: of a proxy, where one is in between.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
