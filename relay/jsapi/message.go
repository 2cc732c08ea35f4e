package jsapi

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MessageSubject is where the leader of a stream is asked for one of its messages, in a
// JetStream domain.
//
// [jetstream.Stream.GetMsg] asks for it by a direct get where the stream allows that.
// Those are answered by replicas, which lag behind the leader, and by mirrors: they may
// not have yet what the stream has, go on having what was removed from it, and have
// another message at a sequence if the stream was made anew.
func MessageSubject(domain, stream string) string {
	return Prefix(domain) + "STREAM.MSG.GET." + stream
}

// MessageRequest is the question for the message at a sequence.
func MessageRequest(sequence uint64) []byte { return fmt.Appendf(nil, `{"seq":%d}`, sequence) }

// answerOverhead is what stands in an answer besides the message: its subject, its time,
// and JSON.
const answerOverhead = 1 << 10

// AnswerBytes is how large the answer about a message of so many bytes can be, which
// stands in it in base64. Where it has to pass a leaf node and is larger than max_payload,
// that cuts the link to the hub.
func AnswerBytes(message int64) int64 { return (message+2)/3*4 + answerOverhead }

// ParseMessage reads the answer to a [MessageRequest]. Its error is a
// *[jetstream.APIError] where the leader says no; errors.Is tells whether that is
// [jetstream.ErrMsgNotFound] or [jetstream.ErrStreamNotFound].
func ParseMessage(reply []byte) (*jetstream.RawStreamMsg, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply, &answer); err != nil {
		return nil, fmt.Errorf("the broker's answer about a message cannot be read: %w", err)
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	msg := &jetstream.RawStreamMsg{Subject: answer.Message.Subject, Sequence: answer.Message.Sequence, Data: answer.Message.Data, Time: answer.Message.Time}
	if len(answer.Message.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(answer.Message.Header)
		if err != nil {
			return nil, fmt.Errorf("the headers of message %d cannot be read: %w", msg.Sequence, err)
		}
		msg.Header = header
	}
	return msg, nil
}
