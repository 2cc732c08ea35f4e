package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// validators are the documents of package schema, compiled by their ids.
var validators = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	compiled := make(map[string]*jsonschema.Schema)
	for _, d := range schema.Documents() {
		if d.Name == "asyncapi" {
			continue
		}
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(d.Text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name, err)
		}
		c := jsonschema.NewCompiler() // which knows nothing but this document,
		c.UseLoader(nowhere{})        // and finds nothing else
		c.AssertFormat()
		if err := c.AddResource(d.ID, document); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name, err)
		}
		if compiled[d.Name], err = c.Compile(d.ID); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	return compiled, nil
})

// nowhere is where a document would be loaded from that another refers to.
type nowhere struct{}

func (nowhere) Load(url string) (any, error) { return nil, fmt.Errorf("%s is not to be fetched", url) }

// validator is one of the documents, by its name.
func validator(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	all, err := validators()
	if err != nil {
		t.Fatal(err)
	}
	if all[name] == nil {
		t.Fatalf("there is no schema %s", name)
	}
	return all[name]
}

// check validates a JSON text.
func check(t testing.TB, name string, text []byte) error {
	t.Helper()
	v := validator(t, name)
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("this is no JSON: %v\n%s", err, text)
	}
	return v.Validate(instance)
}

func document(t testing.TB, name string) schema.Document {
	t.Helper()
	i := slices.IndexFunc(schema.Documents(), func(d schema.Document) bool { return d.Name == name })
	if i < 0 {
		t.Fatalf("there is no document %s", name)
	}
	return schema.Documents()[i]
}

// The examples in the schemas are valid, and so is each part's own.
func TestExamplesAreValid(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"webhook", "task", "event", "quarantine", "expected", "missing", "archive"} {
		compiled := validator(t, name)
		var root struct {
			Examples   []any `json:"examples"`
			Properties map[string]struct {
				Examples []any `json:"examples"`
			} `json:"properties"`
		}
		if err := json.Unmarshal([]byte(document(t, name).Text), &root); err != nil {
			t.Fatal(err)
		}
		if len(root.Examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for i, example := range root.Examples {
			if err := compiled.Validate(example); err != nil {
				t.Errorf("%s: its example %d: %v", name, i, err)
			}
		}
		for property, p := range root.Properties {
			for _, example := range p.Examples {
				if err := compiled.Properties[property].Validate(example); err != nil {
					t.Errorf("%s: the example %v of %s: %v", name, example, property, err)
				}
			}
		}
	}
}

// All that a relay publishes is what the schemas say, and so is what APIXO sent for it.
func TestWhatIsPublishedIsValid(t *testing.T) {
	t.Parallel()
	program := relaytest.Build(t, "./cmd/apixo-relay")
	for _, mode := range []string{"structured", "binary"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
			defer cancel()
			r := startRelay(t, program, mode)
			posted := tasks(t)
			for _, w := range posted {
				r.post(ctx, t, w)
				if err := check(t, "webhook", w.body); err != nil {
					t.Errorf("%s was answered 200, and is no webhook: %v", w.name, err)
				}
			}
			unreadable := rejected()
			for _, w := range unreadable {
				r.post(ctx, t, w)
				if json.Valid(w.body) && check(t, "webhook", w.body) == nil {
					t.Errorf("%s was answered %d, and is a webhook", w.name, w.status)
				}
			}
			r.contradict(ctx, t, `{"code":200,"data":{"taskId":"numbers","state":"failed","failCode":"GENERATION_FAILED"}}`)

			for _, part := range []struct {
				stream, subject, schema string
				n                       int
			}{
				{schema.DefaultStream, "apixo.task.success", "event", len(ofType(posted, schema.TypeTaskSuccess))},
				{schema.DefaultStream, "apixo.task.failed", "event", len(ofType(posted, schema.TypeTaskFailed))},
				{schema.DefaultQuarantine, "apixo.quarantine.rejected", "quarantine", len(unreadable)},
				{schema.DefaultQuarantine, "apixo.quarantine.conflict", "quarantine", 1},
			} {
				for _, msg := range readAll(ctx, t, r.Broker, part.stream, part.subject, part.n) {
					checkMessage(t, mode, part.schema, msg)
				}
			}
		})
	}
}

// contradict posts a webhook that tells another outcome than the one before.
func (r relay) contradict(ctx context.Context, t *testing.T, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Webhooks, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Conflict bool `json:"conflict"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK || !answer.Conflict {
		t.Fatalf("a conflict was answered %s (%v)", res.Status, err)
	}
}

func readAll(ctx context.Context, t *testing.T, broker, stream, subject string, n int) []jetstream.Msg {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, readerTimeout)
	defer cancel()
	nc := connect(t, broker)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	var all []jetstream.Msg
	for len(all) < n {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("after %d of %d messages from %s: %v", len(all), n, subject, err)
		}
		all = append(all, msg)
	}
	return all
}

// checkMessage validates a message as it was stored: as the event that it is or
// becomes, and as a message of its channel in the AsyncAPI document.
func checkMessage(t *testing.T, mode, name string, msg jetstream.Msg) {
	t.Helper()
	event, err := schema.DecodeMessage(msg.Headers(), msg.Data())
	if err != nil {
		t.Fatal(err)
	}
	// The reason of what is archived is told only where there are no files.
	if event.IsTask() != (name == "event") || event.Type != schema.TypeTaskArchived && event.IsTask() != (event.Reason() == "") {
		t.Errorf("the event %+v is none of those in %s", event, msg.Subject())
	}
	// Of the events of missing and archived tasks only the data has a document, and AsyncAPI
	// the rest.
	valid := map[string][]byte{name: event.Data}
	if name != "missing" && name != "archive" {
		if valid[name] = msg.Data(); mode == "binary" {
			if valid[name], err = json.Marshal(event.JSONFormat()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if event.IsTask() {
		valid["task"] = event.Data
	}
	for name, text := range valid {
		if err := check(t, name, text); err != nil {
			t.Errorf("%s: %v\n%s", msg.Subject(), err, text)
		}
	}

	headers := make(map[string]any)
	for name, values := range msg.Headers() {
		headers[name] = values[0]
	}
	message := mode
	if event.Type == schema.TypeAnnouncementRejected {
		message = "announcement" + strings.ToUpper(mode[:1]) + mode[1:]
	}
	asyncAPI := asyncAPIOf(t, msg.Subject(), message)
	if err := asyncAPI.headers.Validate(headers); err != nil {
		t.Errorf("%s: %v\n%q", msg.Subject(), err, headers)
	}
	if name == "quarantine" && mode == "binary" {
		return // whose payload is any bytes
	}
	payload, err := jsonschema.UnmarshalJSON(bytes.NewReader(msg.Data()))
	if err != nil {
		t.Fatal(err)
	}
	if err := asyncAPI.payload.Validate(payload); err != nil {
		t.Errorf("%s: %v\n%s", msg.Subject(), err, msg.Data())
	}
}

// asyncAPIMessage is a message of the AsyncAPI document.
type asyncAPIMessage struct {
	headers, payload *jsonschema.Schema
	examples         []struct {
		Headers any `json:"headers"`
		Payload any `json:"payload"`
	}
}

// asyncAPIOf is a message of a subject, by its name in the channel: mostly the content
// mode.
func asyncAPIOf(t testing.TB, subject, name string) (m asyncAPIMessage) {
	t.Helper()
	text := document(t, "asyncapi").Text
	type ref struct {
		Ref string `json:"$ref"`
	}
	var root struct {
		Channels map[string]struct {
			Address  string         `json:"address"`
			Messages map[string]ref `json:"messages"`
		} `json:"channels"`
		Components struct {
			Messages map[string]struct {
				Traits   []ref           `json:"traits"`
				Examples json.RawMessage `json:"examples"`
			} `json:"messages"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(text), &root); err != nil {
		t.Fatal(err)
	}
	content, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7) // as AsyncAPI's own schemas are
	c.UseLoader(nowhere{})
	c.AssertFormat()
	if err := c.AddResource("urn:asyncapi", content); err != nil {
		t.Fatal(err)
	}
	for _, channel := range root.Channels {
		if channel.Address != subject {
			continue
		}
		message := channel.Messages[name].Ref
		found, ok := root.Components.Messages[message[strings.LastIndex(message, "/")+1:]]
		if !ok {
			t.Fatalf("%s has no message %s", subject, name)
		}
		if m.payload, err = c.Compile("urn:asyncapi" + message + "/payload"); err != nil {
			t.Fatal(err)
		}
		headers := message // unless another has the same
		if len(found.Traits) > 0 {
			headers = found.Traits[0].Ref
		}
		if m.headers, err = c.Compile("urn:asyncapi" + headers + "/headers"); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(found.Examples, &m.examples); err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatalf("no channel has the address %s", subject)
	return m
}

// AsyncAPI's own parser finds nothing wrong with the document, and reads out of
// it what a consumer can subscribe to.
func TestAsyncAPIDocument(t *testing.T) {
	t.Parallel()
	requireNode(t, "asyncapi")
	cmd := exec.CommandContext(t.Context(), "node", "asyncapi/validate.mjs")
	cmd.Stdin = strings.NewReader(document(t, "asyncapi").Text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(failedCommand(cmd.String(), err, out, stderr.Bytes()))
	}
	var found struct {
		Problems   []string `json:"problems"`
		Operations []struct {
			Action             string
			Subjects, Messages []string
		} `json:"operations"`
	}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, problem := range found.Problems {
		// Newer versions of AsyncAPI exist; 3.0 is what tools know.
		if !strings.HasPrefix(problem, "information: The latest version") {
			t.Error(problem)
		}
	}
	var read []string
	for _, o := range found.Operations {
		read = append(read, fmt.Sprintf("%s %s %s", o.Action, strings.Join(o.Subjects, " "), strings.Join(o.Messages, " ")))
	}
	both := func(typ, data string) string {
		return fmt.Sprintf("%s application/cloudevents+json %[1]s %s", typ, data)
	}
	const anyBody = "application/octet-stream"
	want := []string{
		"receive apixo.task.success " + both(schema.TypeTaskSuccess, "application/json"),
		"receive apixo.task.failed " + both(schema.TypeTaskFailed, "application/json"),
		"receive apixo.quarantine.rejected " + both(schema.TypeWebhookRejected, anyBody) + " " + both(schema.TypeAnnouncementRejected, anyBody),
		"receive apixo.quarantine.conflict " + both(schema.TypeWebhookConflict, anyBody),
		"receive apixo.quarantine.missing " + both(schema.TypeTaskMissing, "application/json"),
		"receive apixo.archive.stored " + both(schema.TypeTaskArchived, "application/json"),
		"receive apixo.archive.failed " + both(schema.TypeTaskArchiveFailed, "application/json"),
		"send " + announcements + " announcement application/json",
	}
	if !slices.Equal(read, want) {
		t.Errorf("the operations were read as\n%s\nwant\n%s", strings.Join(read, "\n"), strings.Join(want, "\n"))
	}
}

// announcements is the address at which the AsyncAPI document has tasks announced.
const announcements = "$KV." + schema.DefaultExpectedBucket + ".{key}"

func TestAsyncAPIExamplesAreValid(t *testing.T) {
	t.Parallel()
	modes := []string{"structured", "binary"}
	for subject, names := range map[string][]string{
		"apixo.task.success": modes, "apixo.task.failed": modes, "apixo.quarantine.conflict": modes, "apixo.quarantine.missing": modes,
		"apixo.archive.stored": modes, "apixo.archive.failed": modes,
		"apixo.quarantine.rejected": append(modes, "announcementStructured", "announcementBinary"),
		announcements:               {"announcement"},
	} {
		for _, name := range names {
			m := asyncAPIOf(t, subject, name)
			if len(m.examples) == 0 {
				t.Errorf("%s has no example of the message %s", subject, name)
			}
			for _, example := range m.examples {
				if example.Headers == nil {
					example.Headers = map[string]any{}
				}
				if err := m.headers.Validate(example.Headers); err != nil {
					t.Errorf("%s, %s: %v", subject, name, err)
				}
				if err := m.payload.Validate(example.Payload); err != nil {
					t.Errorf("%s, %s: %v", subject, name, err)
				}
			}
		}
	}
}
