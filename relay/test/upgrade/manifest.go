package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// These are what an archive consists of.
const (
	// StoreFolder is a RELAY_DATA_DIR with an embedded broker.
	StoreFolder = "store"
	// OutboxFolder is a RELAY_DATA_DIR with an outbox whose broker is away.
	OutboxFolder = "outbox"

	manifestFile = "manifest.json"
)

// Manifest is what has to be found in an archive.
type Manifest struct {
	// Version is the program's that has written it.
	Version string
	// Webhooks were answered by the relay with the embedded broker, the last one of each body,
	// and Waiting by the one with the outbox.
	Webhooks, Waiting []Webhook
	// Streams are all in the store, with what is in them.
	Streams map[string][]Message
	// Consumer has read some of the events.
	Consumer Consumer
	// Announced are tasks in the register of expected ones.
	Announced []string `json:",omitempty"`
	// Files are those of a task in the archive of files, their contents by their names.
	Files map[string]map[string][]byte `json:",omitempty"`
}

// Webhook is one that was delivered, and its answer.
type Webhook struct {
	Body []byte
	// Query is that of the callback URL, and ContentType the request's.
	Query       string `json:",omitempty"`
	ContentType string
	Status      int
	// Stream and Sequence are where it is stored, or kept in the quarantine.
	Stream   string
	Sequence uint64
	// Conflict says that its task had another outcome.
	Conflict bool `json:",omitempty"`
}

// Post delivers it, once more or for the first time, and returns it with its answer.
func (w Webhook) Post(ctx context.Context, s *rig.Sender) (answered Webhook, duplicate bool, err error) {
	a, err := s.Vary(func(r *http.Request) {
		r.URL.RawQuery = w.Query
		r.Header.Set("Content-Type", w.ContentType)
	}).PostBody(ctx, string(w.Body))
	w.Status, w.Conflict = a.Status, a.Conflict
	if w.Stream, w.Sequence = a.Stream, a.Sequence; w.Stream == "" {
		w.Stream, w.Sequence = a.Quarantined.Stream, a.Quarantined.Sequence
	}
	return w, a.Duplicate, err
}

// Message is one of a stream's.
type Message struct {
	Sequence uint64
	Subject  string
	Header   map[string][]string `json:",omitempty"`
	Data     []byte
	Time     time.Time
}

// Consumer is a durable one on the stream of events.
type Consumer struct {
	Stream, Name string
	// Acknowledged are the sequences that it need not read again, not all at the beginning.
	Acknowledged []uint64
}

// ReadStreams returns all messages of all streams of a broker.
func ReadStreams(ctx context.Context, js jetstream.JetStream) (map[string][]Message, error) {
	streams := make(map[string][]Message)
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("the stream %s cannot be read: %w", name, err)
		}
		state := s.CachedInfo().State
		streams[name] = []Message{}
		for seq := max(1, state.FirstSeq); seq <= state.LastSeq; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue // deleted
			}
			if err != nil {
				return nil, fmt.Errorf("message %d of %s cannot be read: %w", seq, name, err)
			}
			for _, told := range []string{jetstream.StreamHeader, jetstream.SequenceHeader, jetstream.SubjectHeader, jetstream.TimeStampHeaer} {
				m.Header.Del(told) // about it, by those servers and streams that do
			}
			streams[name] = append(streams[name], Message{m.Sequence, m.Subject, m.Header, m.Data, m.Time.UTC()})
		}
	}
	return streams, names.Err()
}

// ReadManifest reads that of an archive that has been unpacked.
func ReadManifest(dir string) (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, fmt.Errorf("the archive has no manifest: %w", err)
	}
	m := new(Manifest)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("the archive's %s: %w", manifestFile, err)
	}
	return m, nil
}

// write puts it beside the stores that it is of.
func (m *Manifest) write(dir string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, manifestFile), append(text, '\n'), 0o600)
}
