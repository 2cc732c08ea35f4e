package groupcommit

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// reply takes the broker's word on a flight.
func (c *Committer) reply(m *nats.Msg, lastToken string) {
	now := time.Now()
	token, err := strconv.ParseUint(lastToken, 36, 64)
	if err != nil {
		return // nobody but the broker knows the inbox
	}
	r, err := readResponse(m)
	c.mu.Lock()
	f := c.flights[token]
	if f == nil {
		c.mu.Unlock()
		return // too late
	}
	c.land(f)
	refused := f.isBatch() && err != nil
	if err == nil && f.isBatch() && r.Count != len(f.members) {
		err = jetstream.ErrInvalidJSAck
	}
	c.measure(f, now, refused)
	if refused {
		c.againAll(f)
	}
	more := len(c.singly)+len(c.waiting) > 0
	c.mu.Unlock()
	if more {
		c.look()
	}
	switch {
	case refused:
	case err != nil:
		failAll(f.members, err)
	default:
		note := c.observed(Stored{f.sent, f.members})
		// A batch is stored in its order, and the reply names its last.
		first := r.Sequence - uint64(len(f.members)-1)
		for i, s := range f.members {
			s.done <- outcome{ack: Ack{r.Stream, first + uint64(i), r.Duplicate, note}}
		}
	}
}

// measure learns from a flight that is answered what such flights cost. Lock held.
func (c *Committer) measure(f *flight, now time.Time, refused bool) {
	switch {
	case refused:
		again := time.Duration(len(f.members)) * c.costs.single
		c.costs.sawBatch(now.Sub(f.sent) + again)
	case f.isBatch():
		c.costs.sawBatch(now.Sub(f.sent))
	default:
		// With others on their way the broker was at work since this one came to it,
		// or since it was done with the one before.
		since := f.sent
		if c.lastSingle.After(since) {
			since = c.lastSingle
		}
		if !c.batch && (c.singles > 0 || since != f.sent) {
			c.costs.sawGap(now.Sub(since))
		}
		c.lastSingle = now
	}
}

// response is JetStream's reply to a message, or to the last one of a batch.
type response struct {
	Error     *jetstream.APIError `json:"error"`
	Stream    string              `json:"stream"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Count     int                 `json:"count"` // of a batch
}

// readResponse reads a reply. Its error is the broker's, or that it makes no sense.
func readResponse(m *nats.Msg) (r response, err error) {
	if r, ok := readUsual(m.Data); ok {
		return r, nil
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return r, jetstream.ErrNoStreamResponse
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return r, jetstream.ErrInvalidJSAck
	}
	if r.Error != nil {
		return r, r.Error
	}
	if r.Stream == "" {
		return r, jetstream.ErrInvalidJSAck
	}
	return r, nil
}

// readUsual reads the reply to a message that was stored just now, as nats-server
// writes it: {"stream":"APIXO", "seq":12}. It is not sure of any other.
func readUsual(data []byte) (r response, ok bool) {
	rest, isAck := bytes.CutPrefix(data, []byte(`{"stream":"`))
	stream, rest, hasSequence := bytes.Cut(rest, []byte(`", "seq":`))
	digits, isAll := bytes.CutSuffix(rest, []byte("}"))
	if !isAck || !hasSequence || !isAll || len(stream) == 0 || bytes.ContainsFunc(stream, needsParser) || bytes.HasPrefix(digits, []byte("0")) {
		return r, false
	}
	sequence, err := strconv.ParseUint(string(digits), 10, 64)
	return response{Stream: string(stream), Sequence: sequence}, err == nil
}

func needsParser(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
