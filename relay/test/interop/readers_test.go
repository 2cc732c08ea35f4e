package interop

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/client"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// readWithGoSDK uses the CloudEvents SDK as its users do: its JetStream
// receiver, its client, a callback.
func readWithGoSDK(ctx context.Context, t *testing.T, broker, stream, subject string, n int) []event {
	t.Helper()
	nc := connect(t, broker)
	defer nc.Close()
	// The SDK subscribes without looking at the stream that it was told, so an
	// option has to name it again.
	consumer, err := nats_jetstream.NewConsumerFromConn(nc, stream, subject, nil, []nats.SubOpt{nats.BindStream(stream), nats.OrderedConsumer()})
	if err != nil {
		t.Fatal(err)
	}
	// One goroutine that calls back before it takes the next event keeps their order.
	c, err := client.New(consumer, client.WithPollGoroutines(1), client.WithBlockingCallback())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var got []event
	// What the SDK cannot read, or finds invalid, it drops without a word: then
	// there are too few in the end.
	if err := c.StartReceiver(ctx, func(e cloudevents.Event) {
		got = append(got, ofGoSDK(e))
		if len(got) == n {
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func ofGoSDK(e cloudevents.Event) event {
	attributes := map[string]string{
		"specversion":     e.SpecVersion(),
		"id":              e.ID(),
		"source":          e.Source(),
		"type":            e.Type(),
		"subject":         e.Subject(),
		"datacontenttype": e.DataContentType(),
		"dataschema":      e.DataSchema(),
	}
	if !e.Time().IsZero() {
		attributes["time"] = e.Time().Format(time.RFC3339Nano)
	}
	for name, value := range e.Extensions() {
		attributes[name] = fmt.Sprint(value)
	}
	maps.DeleteFunc(attributes, func(_, value string) bool { return value == "" })
	return event{attributes, e.Data()}
}

// asGoSDKReads is what the Go SDK makes of an event. Its JetStream receiver
// (v2.16.2) leaves out the percent-decoding of header values that the NATS
// binding demands (section 3.1.3.2), so in binary mode it hands on the text as
// it stands in the header. Nothing that the relay could send would be read
// right by it and by readers that do decode.
func asGoSDKReads(mode string) func(webhook) event {
	return func(w webhook) event {
		want := event{maps.Clone(w.want.attributes), w.want.data}
		if mode == "binary" {
			want.attributes["model"] = w.model.encoded
		}
		return want
	}
}

// readWithSchema uses the package that the relay has for consumers. It also
// makes sure that the messages are of the content mode that is being tested, and
// that there is nothing else in the stream.
func readWithSchema(mode string) reader {
	return func(ctx context.Context, t *testing.T, broker, stream, subject string, n int) []event {
		t.Helper()
		nc := connect(t, broker)
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		consumer, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
		if err != nil {
			t.Fatal(err)
		}
		if pending := consumer.CachedInfo().NumPending; pending != uint64(n) {
			t.Errorf("%s holds %d messages, %d were published", subject, pending, n)
		}
		messages, err := consumer.Messages()
		if err != nil {
			t.Fatal(err)
		}
		defer messages.Stop()
		var got []event
		for len(got) < n {
			msg, err := messages.Next(jetstream.NextContext(ctx))
			if err != nil {
				t.Fatalf("after %d of %d messages from %s: %v", len(got), n, subject, err)
			}
			checkMode(t, mode, msg.Headers())
			e, err := schema.DecodeMessage(msg.Headers(), msg.Data())
			if err != nil {
				t.Fatalf("%s: %v\n%q\n%q", subject, err, msg.Headers(), msg.Data())
			}
			if id := msg.Headers().Get(jetstream.MsgIDHeader); id != e.ID {
				t.Errorf("%s: the message's id is %q, the event's %q", subject, id, e.ID)
			}
			got = append(got, ofSchema(e))
		}
		return got
	}
}

// checkMode holds a message's headers against its content mode.
func checkMode(t *testing.T, mode string, header nats.Header) {
	t.Helper()
	contentType, attributes := header.Get("Content-Type"), 0
	for name := range header {
		if strings.HasPrefix(strings.ToLower(name), "ce-") {
			attributes++
		}
	}
	isStructured := contentType == "application/cloudevents+json" && attributes == 0
	isBinary := contentType == "" && attributes > 0
	if mode == "structured" && !isStructured || mode == "binary" && !isBinary {
		t.Errorf("these are not the headers of %s mode: %q", mode, header)
	}
}

func ofSchema(e schema.Event) event {
	attributes := map[string]string{
		"specversion":     "1.0", // DecodeMessage reads no other
		"id":              e.ID,
		"source":          e.Source,
		"type":            e.Type,
		"subject":         e.Subject,
		"datacontenttype": e.DataContentType,
		"dataschema":      e.DataSchema,
	}
	if !e.Time.IsZero() {
		attributes["time"] = e.Time.Format(time.RFC3339Nano)
	}
	maps.Copy(attributes, e.Extensions)
	maps.DeleteFunc(attributes, func(_, value string) bool { return value == "" })
	return event{attributes, e.Data}
}

// readWithJavaScript runs the JavaScript example, which prints the events as the
// cloudevents package writes them.
func readWithJavaScript(ctx context.Context, t *testing.T, broker, stream, subject string, n int) []event {
	t.Helper()
	var got []event
	for _, line := range runJavaScript(ctx, t, broker, "--json", "--stream", stream, "--subject", subject, "--count", strconv.Itoa(n)) {
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &members); err != nil {
			t.Fatalf("the JavaScript example printed a line that is no JSON object: %v\n%s", err, line)
		}
		e := event{attributes: make(map[string]string)}
		for name, value := range members {
			var text string
			switch {
			case name == "data" && string(value) == `{"type":"Buffer","data":[]}`:
				// So the package writes an event whose data are bytes, but none.
			case name == "data":
				e.data = value
			case json.Unmarshal(value, &text) != nil:
				t.Errorf("the JavaScript example printed %s as %s, a string was expected", name, value)
			case name == "data_base64":
				var err error
				if e.data, err = base64.StdEncoding.DecodeString(text); err != nil {
					t.Errorf("the JavaScript example printed bytes that are not base64: %v\n%s", err, text)
				}
			default:
				e.attributes[name] = text
			}
		}
		got = append(got, e)
	}
	return got
}

// javaScriptExample is the folder of the JavaScript example.
var javaScriptExample = filepath.Join(relaytest.Root, "schema", "examples", "javascript")

// requireNode ends the test where a folder's JavaScript cannot run: a proof that
// was skipped is none.
func requireNode(t *testing.T, folder string) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatalf("%v; install Node.js 18 or newer, with npm", err)
	}
	// npm writes this file last, when all is installed.
	if _, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); err != nil {
		t.Fatalf("packages from npm are not installed: run 'npm ci --ignore-scripts --prefix %s' in the folder relay/test/interop (%v)", folder, err)
	}
}

func runJavaScript(ctx context.Context, t *testing.T, broker string, args ...string) []string {
	t.Helper()
	return runExample(ctx, t, broker, "node", append([]string{filepath.Join(javaScriptExample, "consumer.mjs")}, args...)...)
}

// runExample runs a consumer to its end and returns the lines that it printed.
func runExample(ctx context.Context, t *testing.T, broker, program string, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = relaytest.Environ("NATS_URL=" + broker)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(failedCommand(cmd.String(), err, stdout.Bytes(), stderr.Bytes()))
	}
	return lines(stdout.Bytes())
}

func connect(t *testing.T, broker string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(broker)
	if err != nil {
		t.Fatalf("connecting to %s: %v", broker, err)
	}
	return nc
}
