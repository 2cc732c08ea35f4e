package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/apixo-relay/apixo-relay/schema"
)

var archiveSchema = types.URI{URL: verbatim(schema.ArchiveSchemaID)}

// ArchiveID is the id of an event that tells what became of a task's files in an archive: of
// the type for tasks all of whose files are there, or of the other. It is the same whoever
// tells it, so that it is told once.
func ArchiveID(taskID, target string, failed bool) string {
	if failed {
		return taskID + ".archive-failed@" + target
	}
	return taskID + ".archived@" + target
}

// Archived returns the message that tells what became of the files of a task in an archive,
// the target. It has the callback attributes of the task's event.
func (e Encoder) Archived(task schema.ArchivedTask, target string, extensions map[string]string, now time.Time) (Message, error) {
	if task.Files == nil {
		task.Files = []schema.ArchivedFile{} // a list, and not null
	}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false) // six bytes for each & of an address
	if err := encoder.Encode(task); err != nil {
		return Message{}, fmt.Errorf("the data of an archived task cannot be written: %w", err)
	}
	failed := len(task.Failures) > 0
	kind, subject, eventType := TaskArchived, schema.ArchivedSubject(e.Prefix), schema.TypeTaskArchived
	if failed {
		kind, subject, eventType = TaskArchiveFailed, schema.ArchiveFailedSubject(e.Prefix), schema.TypeTaskArchiveFailed
	}
	extensions = maps.Clone(extensions)
	// They are about the task's event and its data.
	for _, name := range []string{"normalized", "verified", "reason", "detail"} {
		delete(extensions, name)
	}
	msg := Message{
		Kind: kind, Subject: subject, ID: ArchiveID(task.ID, target, failed),
		Delivery: Delivery{Attributes: extensions, Received: now},
	}
	ce := cloudevents.Event{
		Context: &cloudevents.EventContextV1{
			ID: msg.ID, Source: types.URIRef{URL: verbatim(e.Source)}, Type: eventType, Subject: &task.ID,
			DataContentType: &contentTypeJSON, DataSchema: &archiveSchema, Time: &types.Timestamp{Time: now},
		},
		DataEncoded: bytes.TrimSpace(data.Bytes()),
	}
	switch {
	case failed:
		ce.SetExtension("reason", task.Failures[0].Reason)
	case len(task.Files) == 0:
		ce.SetExtension("reason", schema.ReasonNoAddresses)
		ce.SetExtension("detail", "there are no addresses in the result")
	}
	return e.encode(&ce, msg)
}
