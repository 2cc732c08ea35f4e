package rig

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// WirePace is how hard a [WireLoad] is.
type WirePace struct {
	// Busy connections send the next webhook after each answer, Slow ones after up
	// to that long, Fresh ones once each, and are made all the time. Silent ones
	// send nothing.
	Busy, Slow, Fresh, Silent int
	Pause                     time.Duration
}

// WireLoad is fresh webhooks in HTTP/1.1 as they are on the wire: while net/http
// quietly sends again what it thinks it may, here each request that was written
// to a connection has one answer or none.
type WireLoad struct {
	*Load
	away atomic.Bool
}

// StartWireLoad sends webhooks until [Load.Stop] or the end of ctx. What has no
// answer is counted as [NoAnswer] says.
func (s *Sender) StartWireLoad(ctx context.Context, prefix string, pace WirePace) (*WireLoad, error) {
	target, err := url.Parse(s.url)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &WireLoad{Load: newLoad(cancel)}
	for kind, n := range map[string]int{"busy": pace.Busy, "slow": pace.Slow, "fresh": pace.Fresh, "silent": pace.Silent} {
		for worker := range n {
			w := &wire{load: l, target: target, tls: s.tls, prefix: fmt.Sprintf("%s_%s_%d", prefix, kind, worker), fresh: kind == "fresh"}
			switch kind {
			case "slow":
				w.pause = time.Duration(worker+1) * pace.Pause / time.Duration(n)
			case "silent":
				l.workers.Go(func() { w.hold(ctx) })
				continue
			}
			l.workers.Go(func() { w.run(ctx) })
		}
	}
	return l, nil
}

// GoAway makes no new connections from now on, as a balancer does that has been
// told. Those that there are go on.
func (l *WireLoad) GoAway() { l.away.Store(true) }

// wire is one sender, with one connection at a time.
type wire struct {
	load   *WireLoad
	target *url.URL
	tls    *tls.Config
	prefix string
	pause  time.Duration
	fresh  bool

	conn, tcp net.Conn // the same one without TLS
	reader    *bufio.Reader
}

func (w *wire) run(ctx context.Context) {
	defer w.close()
	for i := 0; ctx.Err() == nil; i++ {
		if w.conn != nil && w.ended() {
			w.close()
		}
		if w.conn == nil && w.load.away.Load() {
			return
		}
		id := fmt.Sprintf("%s_%d", w.prefix, i)
		start := time.Now()
		answer, err := w.post(id)
		answer.Took = time.Since(start)
		w.load.record(id, answer, err)
		wait := w.pause
		if err != nil || answer.Status != http.StatusOK {
			w.close()
			wait = max(wait, refusedPause)
		}
		if w.fresh {
			w.close()
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// hold has a connection and sends nothing.
func (w *wire) hold(ctx context.Context) {
	defer w.close()
	if w.dial() == nil {
		<-ctx.Done()
	}
}

func (w *wire) post(id string) (a Answer, err error) {
	if w.conn == nil {
		if err := w.dial(); err != nil {
			return a, err
		}
	}
	if err := w.conn.SetDeadline(time.Now().Add(senderTimeout)); err != nil {
		return a, err
	}
	body := Webhook(id, "success", 0)
	_, err = fmt.Fprintf(w.conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", w.target.RequestURI(), w.target.Host, len(body), body)
	if err != nil {
		return a, err
	}
	resp, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return a, err
	}
	a.Status = resp.StatusCode
	if resp.Close {
		w.close()
	}
	return a, nil
}

func (w *wire) dial() (err error) {
	if w.tcp, err = net.DialTimeout("tcp", w.target.Host, senderTimeout); err != nil {
		return err
	}
	w.conn = w.tcp
	if w.tls != nil {
		w.conn = tls.Client(w.tcp, w.tls)
	}
	w.reader = bufio.NewReader(w.conn)
	return nil
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close() // nothing is expected of it any more
		w.conn = nil
	}
}

// ended reports whether the other end has closed the connection while nothing
// was asked of it, which every client has to look at before it sends.
func (w *wire) ended() bool {
	raw, err := w.tcp.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	err = raw.Read(func(fd uintptr) bool {
		n, waits, err := peek(fd)
		// TLS says that it ends, and what it says of sessions has been read by then.
		ended = err == nil && !waits && (n == 0 || strings.HasPrefix(w.target.Scheme, "https")) || err != nil
		return true
	})
	return ended || err != nil
}
