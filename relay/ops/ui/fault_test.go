package ui

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/schema"
)

// faulty are bodies, why they are rejected, and what of them the fault is: as text and as JSON,
// which is "-" where there is none.
var faulty = []struct{ name, body, code, text, json string }{
	{"empty", "", schema.CodeEmpty, "", "-"},
	{"blank", " \n", schema.CodeEmpty, end, "-"},
	{"UTF-8, start", "\xff{}", schema.CodeInvalidUTF8, "�", "-"},
	{"UTF-8, middle", "{\"é\":\"a\xc3(\"}", schema.CodeInvalidUTF8, "�", "-"},
	{"UTF-8, end", "{\"a\":1}\xe2\x82", schema.CodeInvalidUTF8, "�", "-"},
	{"UTF-8, a surrogate", "{\"a\":\"\xed\xa0\x80\"}", schema.CodeInvalidUTF8, "�", "-"},
	{"syntax, start", "no JSON", schema.CodeSyntax, "o", "-"},
	{"syntax, a letter", "x", schema.CodeSyntax, "x", "-"},
	{"syntax, middle", `{"a":1,}`, schema.CodeSyntax, "}", "-"},
	{"syntax, an umlaut", `{"a":ä}`, schema.CodeSyntax, "ä", "-"},
	{"syntax, an escape", `{"a":"\x"}`, schema.CodeSyntax, `\`, "-"},
	{"syntax, a line break in a string", "{\"a\":\"b\nc\"}", schema.CodeSyntax, "\n", "-"},
	{"cut", `{"data":{"taskId":"a"`, schema.CodeSyntax, end, "-"},
	{"cut in a string", `{"a":"é`, schema.CodeSyntax, end, "-"},
	{"cut in a word", `{"a":tru`, schema.CodeSyntax, end, "-"},
	{"trailing", `{"a":1} {"b":2}`, schema.CodeTrailingData, `{"b":2}`, "-"},
	{"trailing bracket", "{\"a\":1}\n\n]", schema.CodeTrailingData, `]`, "-"},
	{"twice", `{"a":1,"b":{"c":1,"c":2}}`, schema.CodeDuplicateMember, `"c"`, `"c"`},
	{"twice, spelled otherwise", `{"a":1,"\u0061" :2}`, schema.CodeDuplicateMember, `"\u0061"`, `"\u0061"`},
	{"deep", strings.Repeat("[", schema.MaxDepth+1) + strings.Repeat("]", schema.MaxDepth+1), schema.CodeTooDeep, "[", "-"},
	{"deep, in members", `{"a":[1,{"b":2}],"c":` + strings.Repeat(`{"d":`, schema.MaxDepth) + "1" + strings.Repeat("}", schema.MaxDepth+1), schema.CodeTooDeep, "{", "-"},
	{"no data", `{"a":1}`, schema.CodeMemberMissing, "", ""},
	{"no id", `{"data":{"state":"success"}}`, schema.CodeMemberMissing, "", ""},
	{"no state", `{"data":{"taskId":"a"}}`, schema.CodeMemberMissing, "", ""},
	{"an array", `[{"data":1}]`, schema.CodeMemberType, `[{"data":1}]`, "[ { \"data\": 1 } ]"},
	{"a number", `12`, schema.CodeMemberType, `12`, `12`},
	{"data of another type", `{"code":200,"data":"data"}`, schema.CodeMemberType, `"data"`, `"data"`},
	{"id of another type", `{"taskId":1,"data":{"x":{"taskId":2},"taskId":3,"state":"success"},"more":{"taskId":4}}`, schema.CodeMemberType, `3`, `3`},
	{"state of another type", `{"data":{"taskId":"a","state":null}}`, schema.CodeMemberType, `null`, `null`},
	{"result of another type", `{"data":{"taskId":"a","state":"success","resultJson":[1]}}`, schema.CodeMemberType, `[1]`, `[ 1 ]`},
	{"urls of another type", `{"data":{"taskId":"a","state":"success","resultUrls":{"a":1}}}`, schema.CodeMemberType, `{"a":1}`, `{ "a": 1 }`},
	{"a url of another type", `{"data":{"taskId":"a","state":"success","resultUrls":["a",1]}}`, schema.CodeMemberType, `["a",1]`, `[ "a", 1 ]`},
	{"an id", `{"data":{"taskId":"a b","state":"success"}}`, schema.CodeTaskID, `"a b"`, `"a b"`},
	{"an id with an escape", `{"data":{"taskId":"a\u0000","state":"success"}}`, schema.CodeTaskID, `"a\u0000"`, `"a\u0000"`},
	{"a state", `{"data":{"taskId":"a","state":"running"}}`, schema.CodeState, `"running"`, `"running"`},
	{"a state, and a lone surrogate before", `{"message":"\ud800","data":{"taskId":"a","state":"running"}}`, schema.CodeState, `"running"`, `"running"`},
	{"a state, and a lone surrogate in a name", `{"\udc00":1,"data":{"taskId":"a","state":"running"}}`, schema.CodeState, `"running"`, `"running"`},
	{"syntax behind a lone surrogate", `{"message":"\ud800","a":x}`, schema.CodeSyntax, `x`, "-"},
	{"resultJson, text", `{"data":{"taskId":"a","state":"success","resultJson":"{"}}`, schema.CodeResultJSON, `"{"`, `"{"`},
	{"resultJson, no object", `{"data":{"taskId":"a","state":"success","resultJson":"[]"}}`, schema.CodeResultJSON, `"[]"`, `"[]"`},
	{"resultJson, contradicted", `{"data":{"taskId":"a","state":"success","resultJson":{"resultUrls":["a"]},"resultUrls":["b"]}}`, schema.CodeResultJSON, `{"resultUrls":["a"]}`, `{ "resultUrls": [ "a" ] }`},
}

// end is what is marked where something is missing at the end.
const end = "⟨end⟩"

// The page of each kind of rejection has what is wrong within its mark, and the whole body.
func TestFaults(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := s.site(t)
	seen := make(map[string]bool)
	show := func(name, body, text, json string, sequence uint64) {
		t.Helper()
		d := p.view("quarantined", quarantinePath(sequence))
		if body == "" {
			d.says("The body is empty")
			d.none("section#body pre")
		} else {
			pre := d.one("section#body pre")
			if got := strings.Join(pre.texts("mark"), "|"); got != strings.TrimSpace(text) {
				t.Errorf("%s: %q is marked, want %q", name, got, text)
			}
			if got := strings.ReplaceAll(pre.raw(), end, ""); got != visible([]byte(body)) {
				t.Errorf("%s: the text is %q, want %q", name, got, visible([]byte(body)))
			}
		}
		switch found := d.all("section#json pre"); {
		case json == "-":
			d.none("section#json")
		case len(found) != 1:
			t.Errorf("%s: there is no JSON", name)
		case strings.Join(found[0].texts("mark"), "|") != json:
			t.Errorf("%s: in JSON %q is marked, want %q", name, found[0].texts("mark"), json)
		}
		got := p.get(quarantinePath(sequence) + "/body")
		if got.body != body || got.Header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(got.Header.Get("Content-Disposition"), "attachment; ") ||
			got.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: the download is %q, %v", name, got.body, got.Header)
		}
	}
	for _, test := range faulty {
		for _, mode := range []event.Mode{event.Structured, event.Binary} {
			s.encoder.Mode = mode
			msg, err := s.encoder.Encode(event.Delivery{Body: []byte(test.body), Received: time.Now()})
			if err != nil || msg.Rejection == nil || msg.Rejection.Code != test.code {
				t.Fatalf("%s is rejected as %+v, %v", test.name, msg.Rejection, err)
			}
			msg.ID += fmt.Sprint(mode)
			sequence := s.publish(t, msg, err)
			show(test.name, test.body, test.text, test.json, sequence)
			p.view("quarantined", quarantinePath(sequence)).one("p[id=unsendable]")
		}
		seen[test.code] = true
	}
	// What is no fault of the body marks nothing in it.
	for reason, kind := range map[string]error{schema.ReasonContentType: event.ErrMediaType, schema.ReasonContentEncoding: event.ErrMediaType, schema.ReasonNotConfirmed: event.ErrNotConfirmed} {
		for _, body := range []string{success("task_1"), "a=b&c=d", "\x1f\x8b\x08\xff", `{"data":{"taskId":"a b"}}`} {
			if reason == schema.ReasonNotConfirmed && body != success("task_1") {
				continue
			}
			rejection := &schema.Error{Kind: kind, Code: reason, Detail: "taskId is what the request's headers say"}
			msg, err := s.encoder.Encode(event.Delivery{Body: []byte(body), Received: time.Now(), Rejection: rejection})
			msg.ID += reason
			json := "-"
			if strings.HasPrefix(body, "{") {
				json = ""
			}
			show(reason, body, "", json, s.publish(t, msg, err))
		}
		seen[reason] = true
	}
	conflict := success("task_1")
	show("conflict", conflict, "", "", s.conflict(t, conflict, "taskId is the same"))
	// Announcements have members of their own.
	for body, want := range map[string]string{`{"model":"a b"}`: `"a b"`, `{"model":1}`: `1`, `{"model":"a","attributes":[]}`: `[]`} {
		_, err := schema.ParseExpectedTask([]byte(body))
		rejection := err.(*schema.Error)
		msg, err := s.encoder.RejectedAnnouncement("task_1", []byte(body), rejection, time.Now())
		show(body, body, want, want, s.publish(t, msg, err))
		seen[rejection.Code] = true
	}
	for _, code := range []string{
		schema.CodeEmpty, schema.CodeInvalidUTF8, schema.CodeSyntax, schema.CodeTrailingData, schema.CodeDuplicateMember, schema.CodeTooDeep, schema.CodeMemberMissing,
		schema.CodeMemberType, schema.CodeTaskID, schema.CodeState, schema.CodeModel, schema.CodeResultJSON,
	} {
		if !seen[code] {
			t.Errorf("no body is rejected as %s", code)
		}
	}
}

// A body of any size is shown around its fault, and downloaded whole.
func TestFaultInHugeBody(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := s.site(t)
	filler := strings.Repeat(`"é",`, 20_000)
	for name, test := range map[string]struct{ body, mark string }{
		"start":  {`[x,` + filler + filler + `1]`, "x"},
		"middle": {`[` + filler + `x,` + filler + `1]`, "x"},
		"end":    {`[` + filler + filler + `x]`, "x"},
		"cut":    {`[` + filler + filler, end},
		"member": {`{"data":{"x":[` + filler + `1],"taskId":"a","state":"running","y":[` + filler + `1]}}`, `"running"`},
		"value":  {`{"data":{"taskId":"a","state":"success","resultJson":[` + filler + filler + `1]}}`, ""},
	} {
		sequence := s.webhook(t, test.body)
		d := p.view("quarantined", quarantinePath(sequence))
		mark := d.one("section#body pre mark").text()
		if mark != test.mark && (test.mark != "" || !strings.HasPrefix(mark, `["é","é",`)) {
			t.Errorf("%s: %.100q is marked, want %q", name, mark, test.mark)
		}
		shown := d.one("section#body pre").raw()
		if len(shown) > maxShownBody+100 || len(shown) < maxShownBody/2 {
			t.Errorf("%s: %d bytes of %d are shown", name, len(shown), len(test.body))
		}
		if strings.Contains(shown, "�") {
			t.Errorf("%s: a character is cut in two", name)
		}
		d.one("section#body p[class=note]").says("the download has all of them")
		if got := p.get(quarantinePath(sequence) + "/body").body; got != test.body {
			t.Errorf("%s: the download has %d bytes of %d", name, len(got), len(test.body))
		}
	}
}

// What is small as it came is not made huge by writing it for people.
func TestFaultOfDeepBody(t *testing.T) {
	t.Parallel()
	const depth = 9_000
	body := strings.Repeat("[", depth) + strings.Repeat("]", depth)
	asText, asJSON := markFault(schema.Event{Data: []byte(body), Extensions: map[string]string{"reason": schema.CodeTooDeep}})
	if asJSON != nil || asText.Before+asText.Fault+asText.After != body {
		t.Error("a body that nests deep is indented")
	}
}

// Whatever a body is, its fault is found without a panic, and the text is the whole body.
func FuzzMarkFault(f *testing.F) {
	for _, test := range faulty {
		f.Add([]byte(test.body), test.code, "taskId is it")
	}
	f.Add([]byte(`{"data":{"taskId":"a\ud800"}}`), schema.CodeTaskID, "")
	f.Fuzz(func(t *testing.T, body []byte, reason, detail string) {
		if bytes.Contains(body, []byte(end)) || bytes.Contains(body, []byte("⟨CR⟩")) {
			return
		}
		asText, asJSON := markFault(schema.Event{Data: body, Extensions: map[string]string{"reason": reason, "detail": detail}})
		if asText.Empty != (len(body) == 0) {
			t.Error("empty or not")
		}
		for _, m := range []*markedText{&asText, asJSON} {
			if m == nil {
				continue
			}
			if m.Marked != (m.Fault != "") {
				t.Errorf("marked: %v, %q", m.Marked, m.Fault)
			}
			if m.Note != "" && len(m.Before)+len(m.Fault)+len(m.After) > 4*maxShownBody {
				t.Error("too much is shown")
			}
		}
		if got := strings.NewReplacer(end, "", "⟨CR⟩", "").Replace(asText.Before + asText.Fault + asText.After); len(body) <= maxShownBody && got != visible(body) {
			t.Errorf("%q is shown as %q", body, got)
		}
		w, err := schema.ParseWebhook(body)
		if err == nil && reason == "" && asText.Marked {
			t.Errorf("a fault is marked in the webhook of %s: %q", w.Task.ID, asText.Fault)
		}
	})
}
