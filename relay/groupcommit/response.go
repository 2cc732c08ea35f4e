package groupcommit

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

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
