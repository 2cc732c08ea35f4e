package broker

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/time/rate"
)

// Of the lines about clients so many are passed on at once, and then one every interval:
// anybody can cause them.
const (
	clientLogBurst    = 3
	clientLogInterval = 20 * time.Second
	// fullLogInterval is between two lines that say that clients are refused.
	fullLogInterval = time.Minute
)

// readHint says what to do about a client for whom too much waits.
const readHint = "have its consumers ask for fewer messages at once, or by size (PullMaxBytes), and read them; use a NATS server of your own for object stores, watches of large buckets and push consumers"

// serverLog passes the server's lines on. What it calls a notice tells a reader
// of the relay's log nothing new, and is for debugging here.
type serverLog struct {
	log   *slog.Logger
	fatal chan string // the first fatal message; the server expects the process to end there
	most  int         // clients

	refused chan struct{} // one of them was

	full    *rate.Limiter
	clients *rate.Limiter
	omitted atomic.Int64 // lines about clients, since the last one
}

func newServerLog(log *slog.Logger, most int) *serverLog {
	return &serverLog{
		log: log.With("from", "broker"), fatal: make(chan string, 1), most: most, refused: make(chan struct{}, 1),
		full: rate.NewLimiter(rate.Every(fullLogInterval), 1), clients: rate.NewLimiter(rate.Every(clientLogInterval), clientLogBurst),
	}
}

// Noticef tells of clients that are cut off, which their operator has to hear of: it is
// the one notice that asks for something to be done.
func (l *serverLog) Noticef(format string, v ...any) {
	as := l.log.Debug
	if strings.Contains(format, "Slow Consumer Detected") || strings.Contains(format, "Slow Consumer %s") {
		as = func(line string, attrs ...any) { l.log.Warn(line, append(attrs, "do", readHint)...) }
	}
	l.pass(as, fmt.Sprintf(format, v...))
}

func (l *serverLog) Debugf(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Tracef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// Warnf leaves out that a password is no hash: it comes from the environment, and is
// the same for the server and its clients.
func (l *serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords detected") {
		return
	}
	l.pass(l.log.Warn, fmt.Sprintf(format, v...))
}

func (l *serverLog) Errorf(format string, v ...any) { l.pass(l.log.Error, fmt.Sprintf(format, v...)) }

func (l *serverLog) Fatalf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	l.log.Error(msg)
	select {
	case l.fatal <- msg:
	default:
	}
}

// pass passes a line on, unless too many have been about clients of late.
func (l *serverLog) pass(as func(string, ...any), line string) {
	switch {
	case strings.Contains(line, server.ErrTooManyConnections.Error()):
		select {
		case l.refused <- struct{}{}:
		default:
		}
		if !l.full.Allow() {
			return
		}
		l.log.Warn("clients of the embedded broker are refused: it has as many as it takes", "most", l.most,
			"do", "end those that nobody needs, ask for a password if strangers connect (NATS_TOKEN), raise this process's limit of open files (ulimit -n, LimitNOFILE) if that is small, or use a NATS server of your own")
	case !strings.Contains(line, " - cid:"):
		as(line)
	case !l.clients.Allow():
		l.omitted.Add(1)
	default:
		if n := l.omitted.Swap(0); n > 0 {
			as(line, "omitted", n)
			return
		}
		as(line)
	}
}
