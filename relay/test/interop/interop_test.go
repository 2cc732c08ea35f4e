package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Deadlines for what should take a second or two: a reader that cannot read
// something waits for it until then, and says so.
const (
	modeTimeout   = 8 * time.Minute
	readerTimeout = 2 * time.Minute
)

// reader reads the first n events of a subject's stream.
type reader func(ctx context.Context, t *testing.T, broker, stream, subject string, n int) []event

func TestWhatIsPublishedIsReadBack(t *testing.T) {
	t.Parallel()
	requireNode(t, javaScriptExample)
	program := relaytest.Build(t, "./cmd/apixo-relay")
	example := relaytest.Build(t, "./schema/examples/go/consumer")
	withSDK := relaytest.BuildIn(t, sdkExample, ".")
	for _, mode := range []string{"structured", "binary"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
			defer cancel()
			r := startRelay(t, program, mode)
			tasks, rejected := tasks(t), rejected()
			for _, w := range slices.Concat(tasks, rejected) {
				r.post(ctx, t, w)
			}

			run := func(name string, read reader, wanted func(webhook) event, same func(t *testing.T, got, want []byte) bool) {
				t.Run(name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(ctx, readerTimeout)
					defer cancel()
					for _, part := range []struct {
						stream, subject string
						posted          []webhook
					}{
						{"APIXO", "apixo.task.success", ofType(tasks, "ai.apixo.task.success")},
						{"APIXO", "apixo.task.failed", ofType(tasks, "ai.apixo.task.failed")},
						{"APIXO_QUARANTINE", "apixo.quarantine.rejected", rejected},
					} {
						got := read(ctx, t, r.Broker, part.stream, part.subject, len(part.posted))
						if len(got) != len(part.posted) {
							t.Errorf("%d events were read from %s, %d were published", len(got), part.subject, len(part.posted))
							continue
						}
						for i, w := range part.posted {
							compare(t, w.name, got[i], wanted(w), same)
						}
					}
				})
			}
			run("schema package", readWithSchema(mode), asPublished, sameJSON)
			run("Go SDK", readWithGoSDK, asGoSDKReads(mode), sameJSON)
			run("JavaScript SDK", readWithJavaScript, asPublished, sameInJavaScript)

			t.Run("examples", func(t *testing.T) {
				ctx, cancel := context.WithTimeout(ctx, readerTimeout)
				defer cancel()
				runs := map[string]func(count int) []string{
					"Go": func(count int) []string {
						return runExample(ctx, t, r.Broker, example, "-count", strconv.Itoa(count))
					},
					"JavaScript": func(count int) []string {
						return runJavaScript(ctx, t, r.Broker, "--durable", "javascript", "--count", strconv.Itoa(count))
					},
				}
				if mode == "structured" { // in the other the SDK decodes no headers, as asGoSDKReads says
					runs["Go, by the SDK"] = func(count int) []string {
						return runExample(ctx, t, r.Broker, withSDK, "-count", strconv.Itoa(count))
					}
				}
				for name, run := range runs {
					checkLines(t, name, run(len(tasks)), tasks)
				}
				// What they acknowledged must not come again: the next run sees what is new.
				another := task(t, "another", models[1], []byte(`{"code":200,"data":{"taskId":"another","state":"failed","failCode":"TIMEOUT","completeTime":1704067205000}}`))
				r.post(ctx, t, another)
				for name, run := range runs {
					checkLines(t, name+", second run", run(1), []webhook{another})
				}
			})
		})
	}
}

// asPublished is what a reader sees that does all that the binding asks for.
func asPublished(w webhook) event { return w.want }

// compare holds an event that was read against the one that was to be published.
func compare(t *testing.T, name string, got, want event, same func(t *testing.T, got, want []byte) bool) {
	t.Helper()
	got.attributes = maps.Clone(got.attributes)
	for attribute, value := range want.attributes {
		g := got.attributes[attribute]
		switch {
		case attribute == "time" && sameTime(g, value), value == something && g != "":
			got.attributes[attribute] = value
		}
	}
	if !maps.Equal(got.attributes, want.attributes) {
		t.Errorf("%s: the attributes were read as\n%q\nthey were published as\n%q", name, got.attributes, want.attributes)
	}
	isTask := strings.HasPrefix(want.attributes["type"], "ai.apixo.task.")
	if isTask && !same(t, got.data, want.data) {
		t.Errorf("%s: the data was read as\n%s\nit was published as\n%s", name, got.data, want.data)
	}
	if !isTask && !bytes.Equal(got.data, want.data) {
		t.Errorf("%s: the body was read as\n%q\nit was\n%q", name, got.data, want.data)
	}
}

// sameTime compares times in any of RFC 3339's spellings of one; one that could
// not be told in advance has to be a time all the same.
func sameTime(got, want string) bool {
	g, err := time.Parse(time.RFC3339Nano, got)
	if err != nil || want == something {
		return err == nil
	}
	w, err := time.Parse(time.RFC3339Nano, want)
	return err == nil && g.Equal(w)
}

// sameJSON compares member for member, and numbers digit for digit.
func sameJSON(t *testing.T, got, want []byte) bool {
	t.Helper()
	return reflect.DeepEqual(decode(t, got), decode(t, want))
}

// sameInJavaScript compares as JSON.parse sees it: a number is the double that
// is nearest to it there.
func sameInJavaScript(t *testing.T, got, want []byte) bool {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Error(err)
		return false
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Error(err)
		return false
	}
	return reflect.DeepEqual(g, w)
}

// checkLines holds what an example printed against the tasks that it had to read.
func checkLines(t *testing.T, name string, lines []string, posted []webhook) {
	t.Helper()
	if len(lines) != len(posted) {
		t.Errorf("the example in %s printed %d lines for %d tasks:\n%s", name, len(lines), len(posted), strings.Join(lines, "\n"))
		return
	}
	for i, w := range posted {
		taskOf, err := schema.DecodeTask(w.want.data)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range append([]string{taskOf.ID + " ", string(taskOf.State) + " " + w.model.text, taskOf.FailCode}, taskOf.ResultURLs...) {
			if !strings.Contains(lines[i], part) {
				t.Errorf("the example in %s printed for %s\n%s\nwhich lacks %q", name, w.name, lines[i], part)
			}
		}
	}
}

// lines splits what a program printed.
func lines(out []byte) []string {
	text := strings.TrimSuffix(string(out), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// failedCommand words the failure of a program, with what it said.
func failedCommand(name string, err error, stdout, stderr []byte) string {
	return fmt.Sprintf("%s: %v\nstandard output:\n%s\nstandard error:\n%s", name, err, stdout, stderr)
}
