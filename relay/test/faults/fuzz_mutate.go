package faults

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/test/hostile"
)

// fuzzLimit is RELAY_MAX_BODY_BYTES where bodies are made at random.
const fuzzLimit = 16 << 10

// mutator makes webhooks and changes them at random.
type mutator struct {
	*rand.Rand
	id string // of the next webhook, unless that is changed
}

func (m *mutator) one(in float64) bool { return m.Float64() < in }

func pick[T any](m *mutator, from []T) T { return from[m.IntN(len(from))] }

// member is a name and a value, both as JSON.
type member struct{ name, value string }

// values may stand anywhere.
var values = []string{
	"null", "true", "false", "0", "-0", "1", "0.5", "1e3", "1.0", "1e400", "-9007199254740991", "9007199254740993", "00", "+1", "1.", ".5", "NaN",
	`""`, `"a"`, `"success"`, `"failed"`, `"Success"`, `"\u0000"`, `"\ud83c\udf4c"`, `"\ud800"`, `"\udc00\ud800"`, "\"\xff\"", "\"\x01\"", `"\x"`, `"🍌"`, `"null"`, `"{}"`, `"[]"`,
	`"12.5"`, `"2024-01-01T00:00:12.5Z"`, `"{\"a\":\"\\ud800\"}"`, `"{\"\\ud800\":1,\"\\udfff\":2}"`, `[null,"a"]`, `{"resultUrls":[null]}`, `{"\ud800":1,"\ufffd":2}`,
	`"{\"resultUrls\":[]}"`, `"{\"resultUrls\":[1]}"`, `"{\"resultUrls\":null}"`, `"{\"a\":1,\"a\":2}"`, `"{"`,
	"{}", "[]", `["a"]`, `[1]`, `{"resultUrls":["b"]}`, `{"a":{"a":1}}`, `{"a":1,"a":1}`, "", "[,]", "{,}",
}

// ids are some that may be, and some that may not.
var ids = []string{
	`"a"`, `"A.b_c:d-9"`, `"..."`, `""`, `"a b"`, `"a\n"`, `"a\u0000"`, `"\u0061"`, `"ä"`, `"a/b"`, `"a*"`, `">"`, `"` + strings.Repeat("i", 128) + `"`, `"` + strings.Repeat("i", 129) + `"`, "7", "null", `["a"]`,
}

// names are those that mean something, and some that look like them.
var names = []string{
	`"code"`, `"message"`, `"data"`, `"taskId"`, `"state"`, `"resultJson"`, `"resultUrls"`, `"failCode"`, `"failMsg"`, `"costTime"`, `"createTime"`, `"completeTime"`,
	`"Data"`, `"taskid"`, `"TASKID"`, `"taſkId"`, `"t\u0061skId"`, `"st\u0061te"`, `""`, `"x"`, `"\ud800"`, `"id"`, `"specversion"`, `"__proto__"`,
}

// nest puts a value into others.
func (m *mutator) nest(value string) string {
	n := 1 + m.IntN(80)
	if m.one(0.5) {
		n = 58 + m.IntN(8)
	}
	if m.one(0.5) {
		return strings.Repeat("[", n) + value + strings.Repeat("]", n)
	}
	return strings.Repeat(`{"x":`, n) + value + strings.Repeat("}", n)
}

// value is any.
func (m *mutator) value() string {
	v := pick(m, values)
	if m.one(0.1) {
		v = m.nest(v)
	}
	return v
}

// change changes one thing about the members of an object.
func (m *mutator) change(all []member) []member {
	i := m.IntN(len(all))
	switch m.IntN(8) {
	case 0: // one less
		if len(all) > 1 {
			all = append(all[:i:i], all[i+1:]...)
		}
	case 1: // one twice
		all = append(all, all[i])
	case 2:
		all = append(all, member{pick(m, names), m.value()})
	case 3:
		all[i].name = pick(m, names)
	case 4, 5:
		all[i].value = m.value()
	case 6:
		m.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	case 7:
		all[i].value = m.nest(all[i].value)
	}
	return all
}

// write is an object as JSON.
func (m *mutator) write(all []member) string {
	parts := make([]string, len(all))
	for i, e := range all {
		parts[i] = e.name + pick(m, []string{":", ":", ":", " :\t", ":\r\n"}) + e.value
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// body is a webhook, changed in some ways or in none.
func (m *mutator) body() string {
	data := []member{{`"taskId"`, fmt.Sprintf("%q", m.id)}, {`"state"`, `"success"`}, {`"resultJson"`, `"{\"resultUrls\":[\"https://cdn.apixo.ai/a.jpg\"]}"`}, {`"costTime"`, "12500"}, {`"createTime"`, "1704067200000"}, {`"completeTime"`, "1704067212500"}}
	if m.one(0.3) {
		data = append(data[:1:1], member{`"state"`, `"failed"`}, member{`"failCode"`, `"INVALID_INPUT"`}, member{`"failMsg"`, `"no"`})
	}
	if m.one(0.15) {
		data[0].value = pick(m, ids)
	}
	for m.one(0.45) {
		data = m.change(data)
	}
	envelope := []member{{`"code"`, "200"}, {`"message"`, `"success"`}, {`"data"`, m.write(data)}}
	for m.one(0.15) {
		envelope = m.change(envelope)
	}
	body := m.write(envelope)
	switch {
	case m.one(0.02):
		body = pick(m, []string{"", " ", "[" + body + "]", body + body, "\ufeff" + body, body + "\x00"})
	case m.one(0.02):
		body += strings.Repeat(pick(m, []string{" ", "\n", "x", "["}), max(0, fuzzLimit-len(body)+m.IntN(3)-1))
	case m.one(0.1):
		body = pick(m, []string{" ", "\n", "\t\r\n"}) + body + " "
	}
	for m.one(0.2) {
		body = m.bytes(body)
	}
	return body
}

// bytes changes some bytes of a text.
func (m *mutator) bytes(text string) string {
	if text == "" {
		return text
	}
	at := m.IntN(len(text))
	end := min(len(text), at+1+m.IntN(8))
	switch m.IntN(6) {
	case 0: // a bit
		return text[:at] + string([]byte{text[at] ^ 1<<m.IntN(8)}) + text[at+1:]
	case 1:
		return text[:at] + string([]byte{byte(m.IntN(256))}) + text[at:]
	case 2:
		return text[:at] + pick(m, []string{`"`, `\`, "{", "}", "[", "]", ",", ":", "\x00", "\r\n", "\xff", "\u2028", `\ud800`, "0"}) + text[end:]
	case 3:
		return text[:at] + text[end:]
	case 4:
		return text[:end] + text[at:]
	default:
		return text[:at]
	}
}

// request is what goes around a body, and how it is answered where the body is
// not looked at; 0 where that decides.
type request struct {
	method, behind string // the callback URL
	headers        []string
	status         int
}

// request changes what goes around a body.
func (m *mutator) request() request {
	q := request{method: "POST", behind: "/" + hostile.Token}
	if m.one(0.05) {
		q.behind = pick(m, []string{"/" + hostile.Token + "/", "//" + hostile.Token, "///" + hostile.Token + "//"})
	}
	if m.one(0.3) {
		q.behind += "?" + pick(m, []string{"", "model=a", "model=%", "model=%zz", "model=%00", "model=%0d%0aa:b", "model=a;b", "&&=", "traceparent=x", "model=" + strings.Repeat("y", 300), "model=%ff", "Nats-Msg-Id=x", "model=a&model=b", "state=failed&taskId=x", strings.Repeat("a=b&", 500)})
	}
	if m.one(0.2) {
		q.headers = append(q.headers, pick(m, []string{
			"Content-Type: application/json; charset=UTF-8", "Content-Type: text/json", "Content-Type: application/cloudevents+json", "Content-Type: ",
			"Content-Type: application/json; charset=utf8", "Content-Type: application/json; x=\"a,b\"; y", "Content-Type: application/json, application/json", "Content-Encoding: ", "Content-Encoding: identity, identity", "Content-Encoding: UTF-8",
			"Nats-Msg-Id: x", "ce-id: x", "X-Forwarded-For: 192.0.2.1", "Expect: ", "X-A: \xff\x80", "Cookie: a", "Authorization: Bearer x", "traceparent: x", "X-HTTP-Method-Override: GET", "Upgrade: h2c",
		}))
	}
	// The last of these that is drawn is also the first that the relay looks at.
	if m.one(0.02) {
		q.headers, q.status = append(q.headers, pick(m, []string{"Content-Type: text/plain", "Content-Type: application/json; charset=utf-16", "Content-Type: x", "Content-Encoding: gzip", "Content-Encoding: identity, br"})), 415
	}
	if m.one(0.02) {
		q.behind, q.status = pick(m, []string{"", "/", "/x", "/" + hostile.Token + "x", "/" + strings.ToUpper(hostile.Token), "/" + hostile.Token + "/x", "?" + hostile.Token}), 401
		q.headers = nil
	}
	if m.one(0.02) {
		q.method, q.status = pick(m, []string{"GET", "PUT", "DELETE", "PATCH", "post", "PROPFIND"}), 405
	}
	return q
}

// text is the whole request.
func (q request) text(body string) string {
	return hostile.Head(q.method+" "+hostile.Path+q.behind, append(q.headers, fmt.Sprintf("Content-Length: %d", len(body)))...) + body
}
