package schema

import _ "embed"

// Ids of the documents of this package, each with its version. A change that
// would break a consumer gets a new version, and with it a new id. They are
// names, not places: nothing is to be fetched from there.
const (
	// WebhookSchemaID: the body of APIXO's webhook, as far as the relay asks
	// something of it.
	WebhookSchemaID = "https://github.com/apixo-relay/apixo-relay/schema/webhook-v1.schema.json"
	// TaskSchemaID is the $id of [TaskSchema] and the dataschema attribute of
	// every task event.
	TaskSchemaID = "https://github.com/apixo-relay/apixo-relay/schema/task-v1.schema.json"
	// EventSchemaID: the whole event of a task, in the CloudEvents JSON format.
	EventSchemaID = "https://github.com/apixo-relay/apixo-relay/schema/event-v1.schema.json"
	// QuarantineSchemaID: an event that keeps a webhook's body, or an announcement's, in
	// the same format.
	QuarantineSchemaID = "https://github.com/apixo-relay/apixo-relay/schema/quarantine-v1.schema.json"
	// ExpectedSchemaID: an announced task, as it is in its bucket.
	ExpectedSchemaID = "https://github.com/apixo-relay/apixo-relay/schema/expected-v1.schema.json"
	// MissingSchemaID: the data of an event of [TypeTaskMissing], whose dataschema it is.
	MissingSchemaID = "https://github.com/apixo-relay/apixo-relay/schema/missing-v1.schema.json"
	// ArchiveSchemaID: the data of an event of [TypeTaskArchived] or [TypeTaskArchiveFailed],
	// whose dataschema it is.
	ArchiveSchemaID = "https://github.com/apixo-relay/apixo-relay/schema/archive-v1.schema.json"
	// AsyncAPIID is the id of the AsyncAPI document.
	AsyncAPIID = "https://github.com/apixo-relay/apixo-relay/schema/asyncapi-v1.json"
)

// TaskSchema is the JSON Schema (draft 2020-12) of the data of task events.
//
//go:embed task-v1.schema.json
var TaskSchema string

//go:embed webhook-v1.schema.json
var webhookSchema string

//go:embed event-v1.schema.json
var eventSchema string

//go:embed quarantine-v1.schema.json
var quarantineSchema string

//go:embed expected-v1.schema.json
var expectedSchema string

//go:embed missing-v1.schema.json
var missingSchema string

//go:embed archive-v1.schema.json
var archiveSchema string

//go:embed asyncapi-v1.json
var asyncAPI string

// Document is a machine-readable part of the contract. Each stands for itself:
// none refers to another, or to anything in a network.
type Document struct {
	// Name is a short name, the same in every version: webhook, task, event,
	// quarantine, expected, missing, archive or asyncapi.
	Name string
	// ID is one of the constants of this package, and the document's $id, or id.
	ID string
	// Title says in a few words what it describes.
	Title string
	// Text is the document as JSON in UTF-8: a JSON Schema (draft 2020-12), or an
	// AsyncAPI document (version 3.0) if the name is asyncapi.
	Text string
}

// Documents are all there are: what comes in, what is published for it, what is
// kept of the rest, how tasks are announced, what is published of one without a
// result, what an archive of results tells, and where all that is found. The slice is
// the caller's.
func Documents() []Document {
	return []Document{
		{"webhook", WebhookSchemaID, "Webhook of APIXO", webhookSchema},
		{"task", TaskSchemaID, "Result of an APIXO task", TaskSchema},
		{"event", EventSchemaID, "Event of an APIXO task", eventSchema},
		{"quarantine", QuarantineSchemaID, "Event that keeps a body which could not become one", quarantineSchema},
		{"expected", ExpectedSchemaID, "Announced APIXO task", expectedSchema},
		{"missing", MissingSchemaID, "APIXO task without a result", missingSchema},
		{"archive", ArchiveSchemaID, "Files of an APIXO task in an archive", archiveSchema},
		{"asyncapi", AsyncAPIID, "Events of apixo-relay", asyncAPI},
	}
}
