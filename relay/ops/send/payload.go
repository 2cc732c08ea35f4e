package send

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// The states that a sample may have: the two that end a task.
const (
	Success = "success"
	Failed  = "failed"
)

// How long the sample tasks took, as in APIXO's own examples.
const (
	successCost = 12500 * time.Millisecond
	failedCost  = 5000 * time.Millisecond
)

// The samples have the members of APIXO's own examples, in their order. A
// failed task has no costTime there. The verbs take the quoted task id, the
// time of creation and the time of completion.
const (
	successSample = `{"code":200,"message":"success","data":{"taskId":%s,"state":"success",` +
		`"resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/output/abc.jpg\"]}",` +
		`"costTime":12500,"createTime":%d,"completeTime":%d}}`
	failedSample = `{"code":200,"message":"success","data":{"taskId":%s,"state":"failed",` +
		`"failCode":"CONTENT_VIOLATION","failMsg":"Content violates usage policy",` +
		`"createTime":%d,"completeTime":%d}}`
)

// Payload is a kind of webhook, of which any number can be made. Make one with
// Sample or File.
type Payload struct {
	name string // for errors

	format string        // of a sample, else empty
	cost   time.Duration // from creation to completion of a sample

	raw          []byte
	idStart, end int // where in raw the task id is, with its quotes; both 0 when it is left alone
}

// Sample is a webhook as APIXO sends it, about a task that was completed a
// moment ago. The state is Success or Failed; an error names any other.
func Sample(state string) (Payload, error) {
	switch state {
	case Success:
		return Payload{name: "the sample", format: successSample, cost: successCost}, nil
	case Failed:
		return Payload{name: "the sample", format: failedSample, cost: failedCost}, nil
	}
	return Payload{}, fmt.Errorf("there is no sample of state %q: choose %s or %s", state, Success, Failed)
}

// File is a webhook with the given body. When the body is a JSON object whose
// data.taskId is a string, each webhook gets a task id in its place and not
// another byte is changed. With keepID, and when the body is anything else, it
// is sent as it is. The name is for errors. The body must not change afterwards.
func File(name string, body []byte, keepID bool) Payload {
	p := Payload{name: name, raw: body}
	if !keepID {
		p.idStart, p.end = findTaskID(body)
	}
	return p
}

// TakesTaskID tells whether each webhook made from the payload gets a task id,
// rather than being sent as it is.
func (p Payload) TakesTaskID() bool { return p.format != "" || p.end > 0 }

// body makes the webhook about the task with this id that was completed at
// this time. What it returns must not be changed.
func (p Payload) body(taskID string, completed time.Time) []byte {
	if !p.TakesTaskID() {
		return p.raw
	}
	// The one error is about invalid UTF-8, which Options.check refuses.
	quoted, _ := jsontext.AppendQuote(nil, taskID)
	if p.format != "" {
		created := completed.Add(-p.cost)
		return fmt.Appendf(nil, p.format, quoted, created.UnixMilli(), completed.UnixMilli())
	}
	return bytes.Join([][]byte{p.raw[:p.idStart], p.raw[p.end:]}, quoted)
}

// freshTaskID makes an id as APIXO's look, of 80 random bits: two of the same
// are not to be expected in as many webhooks as a stream can hold.
func freshTaskID() string {
	return "task_" + strings.ToLower(rand.Text()[:16])
}

// findTaskID tells where in the body the value of data.taskId is, quotes
// included, when the body is one JSON object without duplicate member names,
// and data.taskId a string. Otherwise both are 0.
func findTaskID(body []byte) (start, end int) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	err := eachMember(d, func(name string) error {
		if name != "data" || d.PeekKind() != '{' {
			return d.SkipValue()
		}
		return eachMember(d, func(name string) error {
			if name != "taskId" || d.PeekKind() != '"' {
				return d.SkipValue()
			}
			value, err := d.ReadValue()
			end = int(d.InputOffset())
			start = end - len(value)
			return err
		})
	})
	if err != nil {
		return 0, 0
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return 0, 0 // something follows the object
	}
	return start, end
}

// eachMember reads an object and calls member with each name; member must read
// the value.
func eachMember(d *jsontext.Decoder, member func(name string) error) error {
	if kind := d.PeekKind(); kind != '{' {
		return fmt.Errorf("not an object but %v", kind)
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		// String, since the token is only good until the next read.
		if err := member(name.String()); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}
