package receiver

import (
	"net/http"
	"strconv"
	"time"
)

const (
	// maxRefusing is how many requests that got no place among those in flight may wait
	// at once until their refusal is taken: each holds its headers meanwhile. Senders
	// who read keep next to none waiting. Those who come when all wait are told by
	// status and headers alone, since HTTP/2 lets a sender hold back bodies only, and
	// as many again that cannot be told even that are cut off.
	maxRefusing = 256
	// refusalTimeout is how long a refusal may wait to be taken, which is a matter of
	// the network's buffers and not of the sender's pace: those take some kilobytes at
	// once.
	refusalTimeout = 5 * time.Second
)

// respond writes a response, and returns when it is on its way, or cannot be given.
// It returns false if the connection, or the stream in HTTP/2, is to be cut off
// instead. Of those who were admitted, the server's own timeout is the bound.
func (rc *Receiver) respond(w http.ResponseWriter, resp response, admitted bool) bool {
	if admitted {
		rc.answering.Add(1)
		defer rc.answering.Add(-1)
	} else {
		waiting := rc.refusing.Add(1)
		defer rc.refusing.Add(-1)
		switch {
		case waiting > 2*maxRefusing:
			return false
		case waiting > maxRefusing:
			resp.body = nil
		}
		// An error says that this is no connection of the library's, or has ended.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(refusalTimeout))
	}
	resp.write(w)
	return true
}

// write writes the response, and waits until it is on its way, as the library would after
// the handler has returned, when nobody counts the request any more.
func (resp response) write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range resp.header {
		h[name] = values
	}
	if resp.body != nil {
		h["Content-Type"] = receiptType
		if resp.problem != "" {
			h["Content-Type"] = problemContentType
		}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(resp.body))}
	h["X-Content-Type-Options"] = noSniff
	w.WriteHeader(resp.status)
	if resp.body == nil {
		return
	}
	// A sender that has hung up does not read its answer, and comes again.
	_, _ = w.Write(resp.body)
	_ = http.NewResponseController(w).Flush()
}
