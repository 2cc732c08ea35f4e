package streamreader_test

import (
	"errors"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Each list that is not empty must have the event's value, and a code is a failed task's alone.
func TestFilter(t *testing.T) {
	t.Parallel()
	failed := schema.Event{
		Type: schema.TypeTaskFailed, Subject: "a", Extensions: map[string]string{"model": "nano-banana"},
		Data: []byte(`{"taskId":"a","state":"failed","failCode":1001}`),
	}
	success := schema.Event{Type: schema.TypeTaskSuccess, Subject: "b", Data: []byte(`{"taskId":"b","state":"success","failCode":"1001"}`)}
	unreadable := schema.Event{Type: schema.TypeTaskFailed, Data: []byte(`{"failCode":"1001"}`)}
	conflict := schema.Event{
		Type: schema.TypeWebhookConflict, Subject: "a", Extensions: map[string]string{"reason": "conflict"},
		Data: []byte(`{"data":{"taskId":"a","state":"failed","failCode":"1001"}}`),
	}
	for name, test := range map[string]struct {
		filter streamreader.Filter
		want   []bool // for failed, success, unreadable, conflict, and what is no event
	}{
		"nothing asked for": {streamreader.Filter{}, []bool{true, true, true, true, true}},
		"task":              {streamreader.Filter{Tasks: []string{"x", "a"}}, []bool{true, false, false, true, false}},
		"model":             {streamreader.Filter{Models: []string{"nano-banana"}}, []bool{true, false, false, false, false}},
		"reason":            {streamreader.Filter{Reasons: []string{"conflict"}}, []bool{false, false, false, true, false}},
		"code":              {streamreader.Filter{FailCodes: []string{"NSFW", "1001"}}, []bool{true, false, false, false, false}},
		"another code":      {streamreader.Filter{FailCodes: []string{"NSFW"}}, []bool{false, false, false, false, false}},
		"code and model":    {streamreader.Filter{FailCodes: []string{"1001"}, Models: []string{"other"}}, []bool{false, false, false, false, false}},
	} {
		for i, m := range []streamreader.Message{{Event: failed}, {Event: success}, {Event: unreadable}, {Event: conflict}, {Err: errors.New("no event")}} {
			if got := test.filter.Matches(m); got != test.want[i] {
				t.Errorf("%s: message %d: %v, want %v", name, i, got, test.want[i])
			}
		}
	}
}
