package schema_test

import (
	"encoding/json"
	"fmt"

	"github.com/apixo-relay/apixo-relay/schema"
)

// A consumer reads a message in either content mode; msg.Headers() and
// msg.Data() of a jetstream.Msg can be passed as they are.
func ExampleDecodeMessage() {
	headers := map[string][]string{
		"Nats-Msg-Id":  {"task_abc123xyz"},
		"Content-Type": {"application/cloudevents+json"},
	}
	data := []byte(`{"specversion":"1.0","id":"task_abc123xyz","source":"https://api.apixo.ai","type":"ai.apixo.task.success",` +
		`"model":"nano-banana","data":{"taskId":"task_abc123xyz","state":"success","resultUrls":["https://cdn.apixo.ai/output/abc.jpg"]}}`)

	event, err := schema.DecodeMessage(headers, data)
	if err != nil {
		fmt.Println("not an event:", err)
		return
	}
	task, err := event.Task()
	if err != nil {
		fmt.Println("not a task:", err)
		return
	}
	fmt.Println(task.ID, task.State, event.Model(), task.ResultURLs)
	// Output: task_abc123xyz success nano-banana [https://cdn.apixo.ai/output/abc.jpg]
}

// Who has a CloudEvent from another library passes its data.
func ExampleDecodeTask() {
	task, err := schema.DecodeTask([]byte(`{"taskId":"task_def456uvw","state":"failed","failCode":"CONTENT_VIOLATION","failMsg":"Content violates usage policy"}`))
	if err != nil {
		fmt.Println("not a task:", err)
		return
	}
	fmt.Println(task.ID, task.State, task.FailCode)
	// Output: task_def456uvw failed CONTENT_VIOLATION
}

// With a library for CloudEvents, its way from data to a value does: event.DataAs(&task)
// in the CloudEvents SDK, which calls encoding/json.
func ExampleTask_UnmarshalJSON() {
	var task schema.Task
	err := json.Unmarshal([]byte(`{"taskId":"task_def456uvw","state":"failed","failCode":"CONTENT_VIOLATION"}`), &task)
	if err != nil {
		fmt.Println("not a task:", err)
		return
	}
	fmt.Println(task.ID, task.State, task.FailCode)
	// Output: task_def456uvw failed CONTENT_VIOLATION
}
