package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
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
// the target. Of the extensions of the task's event it has those of the callback URL.
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
	msg := Message{
		Kind: TaskArchived, Subject: schema.ArchivedSubject(e.Prefix), ID: ArchiveID(task.ID, target, failed),
		Delivery: Delivery{Attributes: callbackAttributes(extensions), Received: now},
	}
	attributes := cloudevents.EventContextV1{
		ID: msg.ID, Source: types.URIRef{URL: verbatim(e.Source)}, Type: schema.TypeTaskArchived, Subject: &task.ID,
		DataContentType: &contentTypeJSON, DataSchema: &archiveSchema, Time: &types.Timestamp{Time: now},
	}
	if failed {
		msg.Kind, msg.Subject, attributes.Type = TaskArchiveFailed, schema.ArchiveFailedSubject(e.Prefix), schema.TypeTaskArchiveFailed
	}
	ce := cloudevents.Event{Context: &attributes, DataEncoded: bytes.TrimSpace(data.Bytes())}
	switch {
	case failed:
		ce.SetExtension("reason", task.Failures[0].Reason)
		ce.SetExtension("detail", fmt.Sprintf("files in the archive: %d; failures: %d", len(task.Files), len(task.Failures)))
	case len(task.Files) == 0:
		ce.SetExtension("reason", schema.ReasonNoAddresses)
		ce.SetExtension("detail", "there are no addresses in the result")
	}
	return e.encode(&ce, msg)
}

// callbackAttributes are the extensions of a task's event that are not about that event and
// its data. Somebody else may have published it: what cannot be an attribute is left out, so
// that it does not keep what became of the files from being told.
func callbackAttributes(extensions map[string]string) map[string]string {
	names := make([]string, 0, len(extensions))
	for name := range extensions {
		switch name {
		case "normalized", verifiedName, "reason", "detail", "data":
		case traceParentName, traceStateName: // which are looked at in any case
		default:
			if name == strings.ToLower(name) && cloudevents.IsExtensionNameValid(name) {
				names = append(names, name)
			}
		}
	}
	attributes, _ := SelectAttributes(names, func(name string) string { return extensions[name] })
	return attributes
}

// ParseArchiveID takes apart what [ArchiveID] has made; ok is false for anything else. The target
// is as whoever stored the event has written it.
func ParseArchiveID(id string) (taskID, target string, failed, ok bool) {
	told, target, ok := strings.Cut(id, "@") // no task id has one
	taskID, archived := strings.CutSuffix(told, ".archived")
	if !archived {
		taskID, failed = strings.CutSuffix(told, ".archive-failed")
	}
	if !ok || !archived && !failed || !schema.ValidTaskID(taskID) {
		return "", "", false, false
	}
	return taskID, target, failed, true
}
