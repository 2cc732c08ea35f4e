package schema

import _ "embed"

// TaskSchemaID is the $id of [TaskSchema] and the dataschema attribute of every
// task event. A change that would break a consumer gets a new version, and
// with it a new id.
const TaskSchemaID = "https://github.com/apixo-relay/apixo-relay/schema/task-v1.schema.json"

// TaskSchema is the JSON Schema (draft 2020-12) of the data of task events.
//
//go:embed task-v1.schema.json
var TaskSchema string
