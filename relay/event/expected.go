package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/apixo-relay/apixo-relay/schema"
)

var missingSchema = types.URI{URL: verbatim(schema.MissingSchemaID)}

// Missing returns the message that tells that an announced task was given up: for one of
// the reasons of package schema, and in words. It has the attributes of the announcement.
//
// Its id is the same whoever gives the announcement up, so that it is told once.
func (e Encoder) Missing(task schema.MissingTask, reason, detail string, attributes map[string]string, now time.Time) (Message, error) {
	data, err := json.Marshal(task)
	if err != nil {
		return Message{}, fmt.Errorf("the data of a missing task cannot be written: %w", err)
	}
	msg := Message{
		Kind: MissingTask, Subject: schema.MissingSubject(e.Prefix), ID: fmt.Sprintf("%s.missing.%d", task.ID, task.Announced.Unix()),
		Delivery: Delivery{Attributes: attributes, Received: now},
	}
	ce := cloudevents.Event{
		Context: &cloudevents.EventContextV1{
			ID: msg.ID, Source: types.URIRef{URL: verbatim(e.Source)}, Type: schema.TypeTaskMissing, Subject: &task.ID,
			DataContentType: &contentTypeJSON, DataSchema: &missingSchema, Time: &types.Timestamp{Time: now},
		},
		DataEncoded: data,
	}
	ce.SetExtension("reason", reason)
	ce.SetExtension("detail", detail)
	return e.encode(&ce, msg)
}

// RejectedAnnouncement returns the message that keeps an announcement which cannot be used,
// with the reason why. The key is that in the bucket; empty where it came otherwise.
//
// Its id is a digest of key and value, so that one that comes again is kept once.
func (e Encoder) RejectedAnnouncement(key string, value []byte, rejection *schema.Error, now time.Time) (Message, error) {
	digest := sha256.New()
	_, _ = fmt.Fprintf(digest, "%s\n", key)
	digest.Write(value)
	msg := Message{
		Kind: RejectedAnnouncement, Subject: schema.RejectedSubject(e.Prefix), ID: hex.EncodeToString(digest.Sum(nil)),
		Delivery: Delivery{Body: value, Received: now}, Rejection: rejection,
	}
	contentType := "application/octet-stream"
	if _, err := schema.ParseExpectedTask(value); !errors.Is(err, schema.ErrNotJSON) {
		contentType = contentTypeJSON
	}
	attributes := cloudevents.EventContextV1{Type: schema.TypeAnnouncementRejected, DataContentType: &contentType}
	// Who publishes without a key-value client can use a key that is no text. The detail
	// tells it.
	if key != "" && isText(key) {
		attributes.Subject = &key
	}
	return e.quarantine(msg, rejection.Code, rejection.Detail, attributes)
}
