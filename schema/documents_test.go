package schema_test

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/apixo-relay/apixo-relay/schema"
)

var update = flag.Bool("update", false, "write again what one document takes from another")

// Each document stands for itself, so what they share is in several. It is
// written in one: the task in task-v1, from which webhook, event and asyncapi
// have it, and all examples in the JSON Schemas; but for the events of missing and of
// archived tasks, of which only the data has a schema of its own.
func TestDocumentsAreInStep(t *testing.T) {
	t.Parallel()
	texts := make(map[string]jsontext.Value)
	for _, d := range schema.Documents() {
		text, err := os.ReadFile(file(d))
		if err != nil {
			t.Fatal(err)
		}
		texts[d.Name] = text
	}
	task := part(t, texts["task"])
	// In a webhook each member but the first two may come as any type, and what is
	// asked of a result is less than what is promised.
	texts["webhook"] = edit(t, texts["webhook"], "/properties/data", func(old jsontext.Value) jsontext.Value {
		delivered := edit(t, task, "/then", func(jsontext.Value) jsontext.Value { return at(t, old, "/then") })
		for _, name := range []string{"resultUrls", "resultJson", "costTime", "failCode", "failMsg", "createTime", "completeTime"} {
			delivered = edit(t, delivered, "/properties/"+name, without("type", "items", "minimum", "maximum"))
		}
		return retold(t, delivered, old)
	})
	texts["event"] = edit(t, texts["event"], "/properties/data", func(jsontext.Value) jsontext.Value { return task })

	asyncAPI := texts["asyncapi"]
	for name, part := range map[string]jsontext.Value{
		"task":       task,
		"event":      edit(t, part(t, texts["event"]), "/properties/data", constant(`{"$ref":"#/components/schemas/task"}`)),
		"quarantine": part(t, texts["quarantine"]),
		"expected":   part(t, texts["expected"]),
		"missing":    part(t, texts["missing"]),
		"archive":    part(t, texts["archive"]),
	} {
		asyncAPI = edit(t, asyncAPI, "/components/schemas/"+name, func(jsontext.Value) jsontext.Value { return part })
	}
	examples := func(document string) (all []map[string]any) {
		unmarshal(t, at(t, texts[document], "/examples"), &all)
		return all
	}
	around := func(message string, data map[string]any) (event map[string]any) {
		unmarshal(t, at(t, asyncAPI, "/components/messages/"+message+"Structured/examples/0/payload"), &event)
		event["data"] = data
		return event
	}
	for name, event := range map[string]map[string]any{
		"taskSuccess":          examples("event")[0],
		"taskFailed":           examples("event")[1],
		"webhookRejected":      examples("quarantine")[0],
		"webhookConflict":      examples("quarantine")[1],
		"announcementRejected": examples("quarantine")[2],
		"taskMissing":          around("taskMissing", examples("missing")[0]),
		"taskArchived":         around("taskArchived", examples("archive")[0]),
		"taskArchiveFailed":    around("taskArchiveFailed", examples("archive")[1]),
	} {
		structured, binary := messages(t, event)
		asyncAPI = edit(t, asyncAPI, "/components/messages/"+name+"Structured/examples", constant(structured))
		asyncAPI = edit(t, asyncAPI, "/components/messages/"+name+"Binary/examples", constant(binary))
	}
	var announcements []any
	for _, value := range examples("expected") {
		announcements = append(announcements, map[string]any{"payload": value})
	}
	asyncAPI = edit(t, asyncAPI, "/components/messages/taskAnnouncement/examples", constant(marshal(t, announcements)))
	texts["asyncapi"] = asyncAPI

	for _, d := range schema.Documents() {
		want := slices.Clone(texts[d.Name])
		if err := want.Indent(jsontext.WithIndent("  ")); err != nil {
			t.Fatal(err)
		}
		want = append(want, '\n')
		if d.Text == string(want) {
			continue
		}
		if !*update {
			t.Errorf("the document %s is not in step with the others, or not indented: go test ./schema -update", d.Name)
			continue
		}
		if err := os.WriteFile(file(d), want, 0o644); err != nil {
			t.Error(err)
		}
	}
}

// file is where a document stands, to be read and edited.
func file(d schema.Document) string { return d.ID[strings.LastIndex(d.ID, "/")+1:] }

// messages are the examples of a message in both content modes.
func messages(t *testing.T, event map[string]any) (structured, binary string) {
	t.Helper()
	headers := map[string]any{"Nats-Msg-Id": event["id"]}
	for name, value := range event {
		if text, ok := value.(string); ok && name != "data_base64" {
			headers["ce-"+name] = percentEncode(text)
		}
	}
	payload := event["data"]
	if encoded, ok := event["data_base64"].(string); ok {
		body, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		payload = string(body)
	}
	return marshal(t, []any{map[string]any{
			"headers": map[string]any{"Nats-Msg-Id": event["id"], "Content-Type": "application/cloudevents+json"},
			"payload": event,
		}}),
		marshal(t, []any{map[string]any{"headers": headers, "payload": payload}})
}

// percentEncode is that of the NATS binding (section 3.1.3.2), by hand.
func percentEncode(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// part is a document as a part of another: without what makes it one.
func part(t *testing.T, document jsontext.Value) jsontext.Value {
	t.Helper()
	return without("$schema", "$id", "examples")(document)
}

// retold is a part with the title and the description of another.
func retold(t *testing.T, part, other jsontext.Value) jsontext.Value {
	t.Helper()
	for _, name := range []string{"title", "description"} {
		part = edit(t, part, "/"+name, func(jsontext.Value) jsontext.Value { return at(t, other, "/"+name) })
	}
	return part
}

func constant(text string) func(jsontext.Value) jsontext.Value {
	return func(jsontext.Value) jsontext.Value { return jsontext.Value(text) }
}

// without leaves members out of an object; the others keep their order.
func without(names ...string) func(jsontext.Value) jsontext.Value {
	return func(object jsontext.Value) jsontext.Value {
		var out bytes.Buffer
		e := jsontext.NewEncoder(&out)
		d := jsontext.NewDecoder(bytes.NewReader(object))
		start, _ := d.ReadToken()
		must(e.WriteToken(start))
		for d.PeekKind() == jsontext.KindString {
			name, _ := d.ReadToken()
			text := name.String()
			value, err := d.ReadValue()
			must(err)
			if !slices.Contains(names, text) {
				must(e.WriteToken(jsontext.String(text)))
				must(e.WriteValue(value))
			}
		}
		must(e.WriteToken(jsontext.EndObject))
		return out.Bytes()
	}
}

// must is for what cannot go wrong with the documents, which are valid JSON.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// edit replaces the value at a JSON pointer, which has to be there.
func edit(t *testing.T, text jsontext.Value, pointer string, f func(jsontext.Value) jsontext.Value) jsontext.Value {
	t.Helper()
	start, end := find(t, text, pointer)
	return slices.Concat(text[:start], f(text[start:end]), text[end:])
}

// at is the value at a JSON pointer, which has to be there.
func at(t *testing.T, text jsontext.Value, pointer string) jsontext.Value {
	t.Helper()
	start, end := find(t, text, pointer)
	return text[start:end]
}

func find(t *testing.T, text jsontext.Value, pointer string) (start, end int64) {
	t.Helper()
	d := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		if _, err := d.ReadToken(); err != nil {
			t.Fatalf("%s is not there: %v", pointer, err)
		}
		// A pointer leads to a member's name first, and to its value behind that.
		if string(d.StackPointer()) == pointer {
			value, err := d.ReadValue()
			if err != nil {
				t.Fatal(err)
			}
			return d.InputOffset() - int64(len(value)), d.InputOffset()
		}
	}
}

func unmarshal(t *testing.T, text []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDocumentsBearTheirIDs(t *testing.T) {
	t.Parallel()
	for _, d := range schema.Documents() {
		var document struct {
			ID    string `json:"$id"`
			Title string `json:"title"`
			Own   string `json:"id"`
			Info  struct {
				Title string `json:"title"`
			} `json:"info"`
		}
		unmarshal(t, []byte(d.Text), &document)
		if id, title := document.ID+document.Own, document.Title+document.Info.Title; id != d.ID || title != d.Title {
			t.Errorf("the document %s has the id %q and the title %q, want %q and %q", d.Name, id, title, d.ID, d.Title)
		}
	}
	if schema.Documents()[1].Text != schema.TaskSchema {
		t.Error("TaskSchema is not the document task")
	}
}

func document(t *testing.T, name string) []byte {
	t.Helper()
	for _, d := range schema.Documents() {
		if d.Name == name {
			return []byte(d.Text)
		}
	}
	t.Fatalf("there is no document %s", name)
	return nil
}

// What is named to consumers in words is what the code knows.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	t.Parallel()
	var quarantine struct {
		Properties map[string]struct {
			Description string   `json:"description"`
			Examples    []string `json:"examples"`
			Enum        []string `json:"enum"`
		} `json:"properties"`
	}
	unmarshal(t, document(t, "quarantine"), &quarantine)
	reasons := []string{
		schema.CodeEmpty, schema.CodeInvalidUTF8, schema.CodeSyntax, schema.CodeTrailingData, schema.CodeDuplicateMember, schema.CodeTooDeep,
		schema.CodeMemberMissing, schema.CodeMemberType, schema.CodeTaskID, schema.CodeState, schema.CodeModel, schema.CodeResultJSON,
		schema.ReasonContentType, schema.ReasonContentEncoding, schema.ReasonConflict, schema.ReasonNotConfirmed,
	}
	if got := quarantine.Properties["reason"].Examples; !slices.Equal(got, reasons) {
		t.Errorf("quarantine names the reasons %q, there are %q", got, reasons)
	}
	if got := quarantine.Properties["type"].Enum; !slices.Equal(got, []string{schema.TypeWebhookRejected, schema.TypeWebhookConflict, schema.TypeAnnouncementRejected}) {
		t.Errorf("quarantine names the types %q", got)
	}
	var event struct {
		Properties map[string]struct {
			Examples []string `json:"examples"`
		} `json:"properties"`
	}
	unmarshal(t, document(t, "event"), &event)
	if got := event.Properties["normalized"].Examples; !slices.Equal(got, schema.NormalizedMembers()) {
		t.Errorf("event names %q as normalized, there are %q", got, schema.NormalizedMembers())
	}
	var archive struct {
		Properties struct {
			Failures struct {
				Items struct {
					Properties struct {
						Reason struct {
							Examples []string `json:"examples"`
						} `json:"reason"`
					} `json:"properties"`
				} `json:"items"`
			} `json:"failures"`
		} `json:"properties"`
	}
	unmarshal(t, document(t, "archive"), &archive)
	if got := archive.Properties.Failures.Items.Properties.Reason.Examples; !slices.Equal(got, schema.ArchiveFailureReasons()) {
		t.Errorf("archive names the reasons %q, there are %q", got, schema.ArchiveFailureReasons())
	}
	for name, property := range quarantine.Properties {
		if property.Description == "" {
			t.Errorf("quarantine does not describe %s", name)
		}
	}

	var asyncAPI struct {
		Channels map[string]struct {
			Address string `json:"address"`
		} `json:"channels"`
		Components struct {
			Traits map[string]struct {
				Headers struct {
					Properties map[string]struct {
						Examples []string `json:"examples"`
					} `json:"properties"`
				} `json:"headers"`
			} `json:"messageTraits"`
		} `json:"components"`
	}
	unmarshal(t, document(t, "asyncapi"), &asyncAPI)
	for _, name := range []string{"structuredTask", "binaryTask", "structuredQuarantine", "binaryQuarantine"} {
		recovered := asyncAPI.Components.Traits[name].Headers.Properties[schema.HeaderRecovered]
		if want := []string{schema.RecoveredReconciled, schema.RecoveredBackfill}; !slices.Equal(recovered.Examples, want) {
			t.Errorf("asyncapi names %q as values of the header %s of %s, there are %q", recovered.Examples, schema.HeaderRecovered, name, want)
		}
	}
	var subjects []string
	for _, c := range asyncAPI.Channels {
		subjects = append(subjects, c.Address)
	}
	slices.Sort(subjects)
	const prefix = schema.DefaultPrefix
	want := []string{
		"$KV." + schema.DefaultExpectedBucket + ".{key}",
		schema.ArchiveFailedSubject(prefix), schema.ArchivedSubject(prefix),
		schema.ConflictSubject(prefix), schema.MissingSubject(prefix), schema.RejectedSubject(prefix),
		schema.TaskSubject(prefix, schema.StateFailed), schema.TaskSubject(prefix, schema.StateSuccess),
	}
	if !slices.Equal(subjects, want) {
		t.Errorf("asyncapi has the subjects %q, there are %q", subjects, want)
	}
}

// The documents' promise that they need no network, and nothing beside them.
func TestDocumentsStandForThemselves(t *testing.T) {
	t.Parallel()
	for _, d := range schema.Documents() {
		var v any
		unmarshal(t, []byte(d.Text), &v)
		walk(v, func(object map[string]any) {
			if ref, ok := object["$ref"].(string); ok && !strings.HasPrefix(ref, "#/") {
				t.Errorf("%s refers to %s", d.Name, ref)
			}
			properties, _ := object["properties"].(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(properties)) {
				property, _ := properties[name].(map[string]any)
				described := property["description"] != nil || property["$ref"] != nil
				// What stands in a condition narrows a property that is described elsewhere.
				if object["type"] == "object" && object["title"] != nil && !described {
					t.Errorf("%s: the property %s of %q has no description", d.Name, name, object["title"])
				}
			}
		})
	}
}

// walk visits all objects.
func walk(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(v)
		for _, inner := range v {
			walk(inner, visit)
		}
	case []any:
		for _, inner := range v {
			walk(inner, visit)
		}
	}
}
