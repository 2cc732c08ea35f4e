package hostile

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf16"
)

// injections are texts that would make lines, fields or orders of their own
// wherever they came out as they are.
var injections = map[string]string{
	"line":       Mark + "\n{\"time\":\"now\",\"msg\":\"forged\"}",
	"CR LF":      Mark + "\r\nNats-Msg-Id: forged\r\n\r\n",
	"zero":       Mark + "\x00" + Mark,
	"escape":     Mark + "\x1b[2J\x1b]0;" + Mark + "\a",
	"C1":         Mark + "\u009b31m",
	"separators": Mark + "\u2028level=ERROR\u2029",
	"bidi":       Mark + "\u202e\u2066\u200f",
	"quotes":     Mark + `" level=ERROR msg="` + `\`,
	"subject":    Mark + ".>.*",
	"format":     Mark + "%s%n%!d${jndi:x}{{.}}",
	"long":       Mark + strings.Repeat("x", 4000),
	"byte order": Mark + "\ufeff",
	"nonchar":    Mark + "\ufffe",
}

// inJSON writes a text as JSON with nothing in it but ASCII.
func inJSON(s string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(s)) {
		if unit < ' ' || unit > '~' || unit == '"' || unit == '\\' {
			fmt.Fprintf(&b, `\u%04x`, unit)
		} else {
			b.WriteByte(byte(unit))
		}
	}
	return `"` + b.String() + `"`
}

// body adds a body, which comes to the right place in the right way.
func (c *Corpus) body(name, body, want string) { c.addPlain(name, goodPath, body, want) }

// withTask is a webhook of a new task with more members.
func (c *Corpus) withTask(members string) string {
	return strings.Replace(c.Task(), `"costTime":12500`, `"costTime":12500,`+members, 1)
}

func nested(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

func (c *Corpus) addBodies() {
	const bad, odd = "400 not-json", "422 not-a-result"
	data := func(members string) string { return `{"data":{` + members + `}}` }
	for name, text := range injections {
		in := inJSON(text)
		c.body("taskId, "+name, data(`"taskId":`+in+`,"state":"success"`), odd)
		c.body("state, "+name, data(`"taskId":"a","state":`+in), odd)
		c.body("bare, "+name, text, bad)
		c.body("member twice, "+name, `{`+in+`:1,`+in+`:2}`, bad)
		c.body("number, "+name, strings.Replace(c.Task(), "12500", in, 1), "200")
		c.body("resultJson, "+name, data(`"taskId":"a","state":"success","resultJson":`+in), odd)
		c.body("failCode, "+name, strings.Replace(c.withTask(`"failCode":`+in+`,"failMsg":`+in+`,`+in+`:`+in), `"success","result`, `"failed","result`, 1), "200")
	}

	for name, body := range map[string]string{
		"nothing": "", "white space": "\t\r\n ", "no-break space": "\u00a0", "word": "null\x00", "BOM": "\ufeff" + c.Task(),
		"UTF-16": "\xff\xfe{\x00}\x00", "UTF-16, big": "\x00{\x00}", "UTF-32": "{\x00\x00\x00}\x00\x00\x00", "UTF-7": "+AHsAfQ-",
		"NaN": data(`"taskId":"a","state":"success","costTime":NaN`), "Infinity": data(`"costTime":-Infinity`),
		"hexadecimal": data(`"costTime":0x10`), "leading zero": data(`"costTime":01`), "leading plus": data(`"costTime":+1`), "bare point": data(`"costTime":1.`),
		"single quotes": `{'data':{}}`, "comment": "/**/" + c.Task(), "trailing comma": data(`"taskId":"a",`), "name without quotes": `{data:1}`,
		"two texts": c.Task() + c.Task(), "closed twice": c.Task() + "}", "NUL behind": c.Task() + "\x00", "sequence": "\x1e" + c.Task() + "\n",
		"surrogate in UTF-8": data("\"x\":\"\xed\xa0\x80\""), "overlong": data("\"x\":\"\xc0\xaf\""), "beyond Unicode": data("\"x\":\"\xf4\x90\x80\x80\""), "cut in a character": data("\"x\":\"\xe2\x82\""),
		"raw control": data("\"x\":\"\x1f\""), "bad escape": data(`"x":"\x41"`), "short escape": data(`"x":"\u12"`),
		"taskId twice": data(`"taskId":"a","taskId":"b","state":"success"`), "taskId twice by escapes": data(`"taskId":"a","t\u0061skId":"b","state":"success"`),
		"data twice": `{"data":{},"data":{"taskId":"a","state":"success"}}`, "twice far down": data(`"x":[[{"":1,"":2}]]`), "twice by surrogates": data(`"🍌":1,"\ud83c\udf4c":2`), "twice by lone surrogates": data(`"\ud800":1,"\udfff":2`),
		"half a surrogate's escape": data(`"x":"\ud80"`), "surrogate outside a string": data(`"x":\ud800`), "lone surrogate and invalid UTF-8": data("\"x\":\"\\ud800\xff\""),
		"65 levels": data(`"x":` + nested(63)), "10,000 levels": nested(10_000), "open only": strings.Repeat("[", 30_000), "objects open only": strings.Repeat(`{"":`, 8000),
		"closed before opened": strings.Repeat("]", 100) + nested(160), "brackets in a string": `"` + strings.Repeat("[", 100),
		"form": "data=%7B%7D", "XML": "<a/>", "gzip": "\x1f\x8b\x08\x00", "cut off": c.Task()[:60], "quote only": `"`, "backslash at the end": `"\`,
	} {
		c.body(name, body, bad)
	}
	for name, body := range map[string]string{
		"null": "null", "number": "1e999999999", "long number": strings.Repeat("9", 30_000), "array": "[]", "string": `"a"`, "empty object": "{}",
		"data null": `{"data":null}`, "data as text": `{"data":"{}"}`, "array around it": "[" + c.Task() + "]", "Data": strings.Replace(c.Task(), `"data"`, `"Data"`, 1),
		"folded names": data(`"taſkId":"a","ſtate":"success"`), "taskId with a NUL": data(`"taskId":"a\u0000","state":"success"`), "taskId with a Kelvin sign": data(`"taskId":"\u212a","state":"success"`),
		"taskId too long": success(strings.Repeat("a", 129)), "taskId empty": success(""), "taskId an array": data(`"taskId":["a"],"state":"success"`),
		"State in capitals": data(`"taskId":"a","state":"SUCCESS"`), "state with a space": data(`"taskId":"a","state":"success "`), "state true": data(`"taskId":"a","state":true`),
		"code 2.5": `{"code":2.5,"data":{}}`, "lone surrogate in taskId": data(`"taskId":"a\ud800","state":"success"`), "lone surrogate in state": data(`"taskId":"a","state":"success\udfff"`),
		"resultJson number": data(`"taskId":"a","state":"success","resultJson":1`), "resultJson cut off": data(`"taskId":"a","state":"success","resultJson":"{"`),
		"resultJson twice inside": data(`"taskId":"a","state":"success","resultJson":"{\"a\":1,\"a\":2}"`), "resultJson deep inside": data(`"taskId":"a","state":"success","resultJson":"` + nested(65) + `"`),
		"twice by lone surrogates inside": data(`"taskId":"a","state":"success","resultJson":"{\"\\ud800\":1,\"\\udfff\":2}"`), "resultUrls differ": data(`"taskId":"a","state":"success","resultUrls":["b"],"resultJson":"{\"resultUrls\":[\"c\"]}"`),
		"resultUrls not texts": data(`"taskId":"a","state":"success","resultJson":{"resultUrls":[1]}`),
	} {
		c.body(name, body, odd)
	}
	for name, body := range map[string]string{
		"64 levels": c.withTask(`"x":` + nested(62)), "number with exponent": strings.Replace(c.Task(), "12500", "1.25e4", 1), "minus zero": strings.Replace(c.Task(), "12500", "-0", 1),
		"huge number unread": c.withTask(`"x":1e400,"y":-` + strings.Repeat("9", 5000)), "many names": c.withTask(manyNames(3000)), "names that differ in case": c.withTask(`"taskid":1,"TASKID":2`),
		"names of the prototype": c.withTask(`"__proto__":{},"constructor":1,"specversion":"9","data_base64":"x"`), "all escaped": strings.Replace(c.Task(), `"data"`, `"\u0064\u0061\u0074\u0061"`, 1),
		"white space around": "\r\n\t " + c.Task() + "\n\n", "costTime null": strings.Replace(c.Task(), "12500", "null", 1), "time in the year 0": strings.Replace(c.Task(), "1704067212500", "-62198755200000", 1),
		"time in the year 285616": strings.Replace(c.Task(), "1704067212500", "9007199254740991", 1), "least costTime": strings.Replace(c.Task(), "12500", "-9007199254740991", 1),
		"costTime half": strings.Replace(c.Task(), "12500", "0.5", 1), "costTime beyond 53 bits": strings.Replace(c.Task(), "12500", "9007199254740993", 1), "costTime 1e400": strings.Replace(c.Task(), "12500", "1e400", 1),
		"costTime of many digits": strings.Replace(c.Task(), "12500", "1"+strings.Repeat("0", 9999), 1), "costTime of many digits as text": strings.Replace(c.Task(), "12500", `"0.`+strings.Repeat("9", 9999)+`e-999999999"`, 1),
		"completeTime as text": strings.Replace(c.Task(), "1704067212500", `"1"`, 1), "completeTime by RFC 3339": strings.Replace(c.Task(), "1704067212500", `"2024-01-01t00:00:12.5+00:00"`, 1), "completeTime of many digits": strings.Replace(c.Task(), "1704067212500", `"2024-01-01T00:00:12.`+strings.Repeat("5", 9999)+`Z"`, 1),
		"all of another type": strings.Replace(c.withTask(`"failCode":1001,"failMsg":{},"createTime_":0`), `"code":200,"message":"success"`, `"code":[],"message":7`, 1), "null among resultUrls": c.withTask(`"resultUrls":[null,"https://cdn.apixo.ai/output/abc.jpg"]`), "resultUrls null": c.withTask(`"resultUrls":null`),
		"lone surrogate": c.withTask(`"x":"\ud800"`), "low surrogate": c.withTask(`"x":"\udc00"`), "swapped surrogates": c.withTask(`"x":"\udc00\ud800"`), "lone surrogate in a name": c.withTask(`"zqx\ud800":1`), "lone surrogates only": c.withTask(`"x":"` + strings.Repeat(`\udfff`, 4000) + `"`),
		"surrogate inside": strings.Replace(c.Task(), `abc.jpg`, `\\ud800.jpg`, 1), "surrogate around": strings.Replace(c.Task(), `abc.jpg`, `\ud800.jpg`, 1),
		"taskId longest": success(strings.Repeat("-", 128)), "taskId of dots": success("..."), "taskId like a wildcard's neighbour": success("a:b_c.-"), "bananas": c.withTask(`"x":"🍌\u2028\u202e\u0000"`),
	} {
		c.body(name, body, "200")
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"n%d":0,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// addQueries adds good webhooks with odd queries. What cannot be an attribute is
// left out, and the webhook is stored all the same.
func (c *Corpus) addQueries() {
	query := func(name, query string) {
		c.addPlain("query, "+name, goodPath+"?"+query, c.Task(), "200")
	}
	for name, text := range injections {
		encoded := url.QueryEscape(text)
		query("value, "+name, "model="+encoded+"&tenant=good")
		query("name, "+name, encoded+"="+encoded)
		query("trace, "+name, "traceparent="+encoded+"&tracestate="+encoded)
	}
	for name, text := range map[string]string{
		"nothing": "", "only separators": "&&==&=", "semicolons": "model=a;tenant=" + Mark, "percent alone": "model=%", "half an escape": "model=%4", "no hexadecimal": "model=%zz",
		"NUL": "model=%00", "CR LF": "model=a%0d%0aNats-Msg-Id:%20" + Mark, "overlong": "model=%c0%80" + Mark, "invalid UTF-8": "model=%ff%fe", "surrogate": "model=%ed%a0%80",
		"twice encoded": "model=%250d%250a", "raw bytes": "model=\xff\xfe" + Mark, "raw UTF-8": "model=🍌", "raw quote": `model="` + Mark + `"<>\^` + "`{|}",
		"too long": "model=" + Mark + strings.Repeat("y", 254), "many": strings.Repeat("model="+Mark+"&", 1500), "names of the event": "id=" + Mark + "&source=" + Mark + "&type=" + Mark + "&data=" + Mark + "&Nats-Msg-Id=" + Mark,
		"brackets": "model[]=" + Mark + "&model.x=" + Mark, "another case": "MODEL=" + Mark, "token": "token=" + Mark, "question marks": "?model=" + Mark + "?", "plus": "model=+" + Mark + "+",
		"good trace": "traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01&tracestate=" + Mark + "%3D1", "trace of nobody": "traceparent=00-00000000000000000000000000000000-b7ad6b7169203331-01",
	} {
		query(name, text)
	}
}
