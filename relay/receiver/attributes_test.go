package receiver_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

func TestCallbackAttributes(t *testing.T) {
	t.Parallel()
	const (
		parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		state  = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
	)
	type attributes = map[string]string
	r := start(t, tokenEnv, "RELAY_CALLBACK_ATTRIBUTES=model,tenant")
	for i, test := range []struct {
		name, query string
		want        attributes
		dropped     []any
	}{
		{"none", "", nil, nil},
		{"model", "model=nano-banana", attributes{"model": "nano-banana"}, nil},
		{"both", "tenant=t&model=m", attributes{"model": "m", "tenant": "t"}, nil},
		{"others", "colour=red&id=x&source=y&reason=z&Model=m&MODEL=m", nil, nil},
		{"encoded", "model=a%20b%2Fc%3D%26+d", attributes{"model": "a b/c=& d"}, nil},
		{"not ASCII", "model=%E5%9B%BE%F0%9F%8D%8C", attributes{"model": "图🍌"}, nil},
		{"twice", "model=first&model=second", attributes{"model": "first"}, nil},
		{"empty", "model=&tenant", nil, nil},
		{"longest", "model=" + strings.Repeat("x", 256), attributes{"model": strings.Repeat("x", 256)}, nil},
		{"too long", "model=" + strings.Repeat("x", 257) + "&tenant=t", attributes{"tenant": "t"}, []any{"model"}},
		{"newline", "model=a%0Ab", nil, []any{"model"}},
		{"zero byte", "model=a%00b", nil, []any{"model"}},
		{"delete", "model=a%7Fb", nil, []any{"model"}},
		{"C1 control", "model=a%C2%85b", nil, []any{"model"}},
		{"noncharacter", "model=%EF%BF%BE", nil, []any{"model"}},
		{"invalid UTF-8", "model=%ff", nil, []any{"model"}},
		{"both bad", "tenant=%01&model=%fe", nil, []any{"model", "tenant"}},

		{"trace", "traceparent=" + parent, attributes{"traceparent": parent}, nil},
		{"trace and state", "traceparent=" + parent + "&tracestate=" + state, attributes{"traceparent": parent, "tracestate": state}, nil},
		{"state alone", "tracestate=" + state, nil, nil},
		{"broken trace", "traceparent=" + parent[1:] + "&tracestate=" + state, nil, []any{"traceparent"}},
		{"trace in capitals", "traceparent=" + strings.ToUpper(parent), nil, []any{"traceparent"}},
		{"no trace id", "traceparent=00-00000000000000000000000000000000-b7ad6b7169203331-01", nil, []any{"traceparent"}},
		{"no parent id", "traceparent=00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", nil, []any{"traceparent"}},
		{"forbidden version", "traceparent=ff" + parent[2:], nil, []any{"traceparent"}},
		{"newline behind the trace", "traceparent=" + parent + "%0A", nil, []any{"traceparent"}},
		{"newline in the state", "traceparent=" + parent + "&tracestate=a%0Ab", attributes{"traceparent": parent}, []any{"tracestate"}},
		{"long state", "traceparent=" + parent + "&tracestate=" + strings.Repeat("a", 513), attributes{"traceparent": parent}, []any{"tracestate"}},
	} {
		id := fmt.Sprintf("task_%d", i)
		r.post(t, goodPath+"?"+test.query, success(id)).wantStored(t, receipt{id, "APIXO", uint64(i + 1), false})
		e := r.events(t, "APIXO")[i]
		if e.ID != id || e.Source != "https://api.apixo.ai" || !maps.Equal(e.Extensions, test.want) {
			t.Errorf("%s: the event's attributes are %q, want %q", test.name, e.Extensions, test.want)
		}
		dropped, _ := r.log.webhook(t, i+1)["droppedAttributes"].([]any)
		if fmt.Sprint(dropped) != fmt.Sprint(test.dropped) {
			t.Errorf("%s: the log says that %v are dropped, want %v", test.name, dropped, test.dropped)
		}
	}
}

// Which model a body was about helps whoever looks at why it was rejected.
func TestCallbackAttributesOfRejectedBody(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.post(t, webhookPath+"?model=nano-banana&tenant=t&reason=none", "no JSON").wantProblem(t, 400, "not-json")
	kept := r.events(t, "APIXO_QUARANTINE")[0].Extensions
	if kept["model"] != "nano-banana" || kept["tenant"] != "" || kept["reason"] != "invalid-json" || kept["detail"] == "" {
		t.Errorf("kept with the attributes %v", kept)
	}
}
