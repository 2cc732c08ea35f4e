package hostile

import (
	"fmt"
	"strings"
)

// Chunk is one of a body in chunks.
func Chunk(body string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(body), body) }

// addPaths adds request lines.
func (c *Corpus) addPaths() {
	at := func(want, name, target string) {
		body := c.Task()
		c.add("path, "+name, posted(target, body), body, want)
	}
	for name, target := range map[string]string{
		"root": "/", "star": "*", "shorter": "/webhook", "longer": Path + "x/" + Token, "capitals": "/Webhook/apixo/" + Token, "dots": "/x/../webhook/apixo/" + Token, "dot and the token": Path + "/./" + Token, "dots and the token": Path + "/x/../" + Token, "dots encoded": "/webhook/%2e%2E/webhook/apixo/" + Token, "dot last": goodPath + "/.", "path encoded": "/webhook%2fapixo/" + Token,
		"backslash": `/webhook\apixo/` + Token, "encoded twice": "/webhook%252fapixo/" + Token, "NUL": "/%00" + Mark, "line": "/%0d%0a" + Mark, "escape": "/%1b[2J" + Mark, "overlong slash": "/webhook%c0%afapixo/" + Token, "raw bytes": "/\xff\xfe" + Mark, "not ASCII": "/🍌", "no path": "http://h", "mark": "/" + Mark, "admin": "/metrics",
	} {
		at("404 not-found", name, target)
	}
	for name, target := range map[string]string{
		"NUL behind": goodPath + "%00", "line behind": goodPath + "%0d%0a", "segment behind": goodPath + "/" + Mark, "fragment": goodPath + "#" + Mark,
		"parameters": goodPath + ";" + Mark, "encoded twice": Path + "/%2574ok-9f3c2a7d51e84b06", "in the query": Path + "?" + Token, "encoded question mark": goodPath + "%3fmodel=a", "as the user": "http://relay:" + Token + "@h" + Path, "long": Path + "/" + strings.Repeat(Mark, 4000), "mark": Path + "/" + Mark + "%0a%1b%e2%80%a8", "capitals": Path + "/TOK-9f3c2a7d51e84b06",
	} {
		at("401 unauthorized", name, target)
	}
	for name, target := range map[string]string{
		"absolute": "http://" + Mark + goodPath, "absolute, two slashes": "http://h/" + goodPath, "another scheme": "ftp://h" + goodPath, "token encoded": Path + "/" + encodeAll(Token), "slash behind": goodPath + "/", "two slashes": Path + "//" + Token, "two slashes first": "/" + goodPath, "slashes": "//webhook///apixo////" + Token + "//?x", "slash behind, encoded": goodPath + "%2F", "empty query": goodPath + "?", "question marks": goodPath + "???",
	} {
		at("200", name, target)
	}
	for name, target := range map[string]string{
		"percent": goodPath + "%", "no hexadecimal": goodPath + "%zz", "control": goodPath + "\x01", "space": "/a b", "nothing": "", "relative": "webhook", "delete": goodPath + "\x7f", "bad port": "http://h:" + Mark + goodPath, "tab": goodPath + "\tx",
	} {
		at("400", name, target)
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post", "Post", "POSTS", strings.ToUpper(Mark), "PRI"} {
		c.add("method "+method, Head(method+" "+goodPath, "X-HTTP-Method-Override: POST"), "", "405 method-not-allowed")
	}
	c.add("method CONNECT", Head("CONNECT "+goodPath), "", "405 method-not-allowed")
	c.add("CONNECT to a port", Head("CONNECT h:1"), "", "404 not-found")
	for name, line := range map[string]string{"no token": "P@ST " + goodPath, "none": " " + goodPath, "not ASCII": "PÖST " + goodPath, "control": "PO\x1bST " + goodPath, "tab": "POST\t" + goodPath} {
		c.add("method, "+name, Head(line), "", "400")
	}
}

// addHeaders adds header lines.
func (c *Corpus) addHeaders() {
	with := func(want, name string, headers ...string) {
		body := c.Task()
		c.add("header, "+name, posted(goodPath, body, headers...), body, want)
	}
	const badType = "415 unsupported-media-type"
	for name, value := range map[string]string{
		"mark": Mark, "mark and a comma": "application/json, " + Mark, "no subtype": "application/", "slash": "/", "semicolon": ";", "charset": "application/json; charset=" + Mark, "charset twice": "application/json; charset=utf-8; charset=utf-16", "UTF-16": "application/json;charset=UTF-16LE", "UTF-7": "application/json;charset=utf-7",
		"not ASCII": "application/jsön", "form": "application/x-www-form-urlencoded", "long": "application/" + strings.Repeat(Mark, 3000), "continued": "application/json; charset*0=utf; charset*1=-16", "charset in an open quote": `application/json; charset="` + Mark,
	} {
		with(badType, "type "+name, "Content-Type: "+value)
	}
	for name, value := range map[string]string{
		"of many words": "Application/JSON ; odd=\"" + Mark + ", ;\" ; CHARSET=\"UTF8\"", "open quote": `application/json; charset="utf-8`, "control": "application/json;\x80" + Mark, "odd parameters": "application/json; " + Mark + "; =; charset", "commas": ",application/json, application/json; charset=utf_8,", "charset of ASCII": "application/json; charset=ISO_8859-1",
	} {
		with("200", "type "+name, "Content-Type: "+value)
	}
	for _, value := range []string{"gzip", Mark, "gzip, gzip, gzip", "identity, br", "deflate;q=1"} {
		with(badType, "encoding "+value, "Content-Type: application/json", "Content-Encoding: "+value)
	}
	for _, value := range []string{"identity", "", "IDENTITY,\t,identity", "utf-8"} {
		with("200", "encoding "+value, "Content-Type: application/json", "Content-Encoding: "+value)
	}
	with("200", "type twice", "Content-Type: application/json", "Content-Type: application/json")
	with("200", "encoding twice", "Content-Encoding: identity", "Content-Encoding: identity")
	with(badType, "two types", "Content-Type: application/json", "Content-Type: text/html")
	latin := strings.Replace(c.Task(), `"success"`, "\"\xe4\"", 1)
	c.add("header, type of Latin letters", posted(goodPath, latin, "Content-Type: application/json; charset=iso-8859-1"), latin, badType)
	beyond := strings.Replace(c.Task(), `"success"`, `"ä"`, 1)
	c.add("header, type Latin beyond ASCII", posted(goodPath, beyond, "Content-Type: application/json; charset=iso-8859-1"), beyond, badType)
	var many []string
	for i := range 800 {
		many = append(many, fmt.Sprintf("X-%d: %s", i, Mark))
	}
	with("200", "many", many...)
	with("200", "of messages", "Nats-Msg-Id: "+Mark, "Nats-Expected-Stream: "+Mark, "ce-id: "+Mark, "ce-type: "+Mark, "Nats-Rollup: all")
	with("200", "of browsers", "User-Agent: "+Mark, "Referer: http://relay:"+Token+"@"+Mark+goodPath, "Cookie: "+Mark, "Range: bytes=0-", "If-None-Match: *", "traceparent: "+Mark)
	with("200", "upgrades", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
	with("200", "WebSocket", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: "+Mark)
	with("200", "not ASCII", "X-A: 🍌\xff\x80"+Mark)
	with("431", "too large", "X-A: "+strings.Repeat(Mark, 10_000))
	for name, line := range map[string]string{"NUL": "X-A: a\x00b", "escape": "X-A: \x1b[2J", "CR": "X-A: a\rb", "space before the colon": "X-A : b", "no name": ": b", "no colon": Mark, "space in the name": "X A: b", "not ASCII in the name": "X-Ä: b", "folded first": " X-A: b"} {
		body := c.Task()
		c.add("header, "+name, Head("POST "+goodPath, line, fmt.Sprintf("Content-Length: %d", len(body)))+body, body, "400")
	}
	host := func(want, name, host string) {
		body := c.Task()
		c.add("host, "+name, fmt.Sprintf("POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", goodPath, host, len(body), body), body, want)
	}
	host("200", "empty", "Host: \r\n")
	host("200", "mark", "Host: "+Mark+":99999999\r\n")
	host("400", "none", "")
	host("400", "two", "Host: h\r\nHost: "+Mark+"\r\n")
	host("400", "space", "Host: h "+Mark+"\r\n")
	host("400", "not ASCII", "Host: 🍌\r\n")
	host("400", "slash and quotes", "Host: h/\""+Mark+"\"\r\n")
}

// addFraming adds what tells where a body ends, or does not.
func (c *Corpus) addFraming() {
	framed := func(want, name, rest string, headers ...string) {
		c.add("framing, "+name, Head("POST "+goodPath, headers...)+rest, "", want)
	}
	const chunked, cut = "Transfer-Encoding: chunked", "400 body-incomplete"
	good := func(name string, frame func(body string) string) {
		body := c.Task()
		c.add("framing, "+name, frame(body), body, "200")
	}
	length := func(body string) string { return fmt.Sprintf("Content-Length: %d", len(body)) }
	good("length twice", func(b string) string { return Head("POST "+goodPath, length(b), length(b)) + b })
	good("chunked in capitals", func(b string) string {
		return Head("POST "+goodPath, "transfer-ENCODING: \tChunked ") + Chunk(b) + "0\r\n\r\n"
	})
	good("chunks of one byte", func(b string) string {
		var all strings.Builder
		for i := range len(b) {
			all.WriteString(Chunk(b[i : i+1]))
		}
		return Head("POST "+goodPath, chunked) + all.String() + "0\r\n\r\n"
	})
	good("chunk extensions", func(b string) string {
		return Head("POST "+goodPath, chunked) + fmt.Sprintf("%x;%s=\"%s\"\r\n%s\r\n0;x\r\n\r\n", len(b), Mark, Mark, b)
	})
	good("trailers", func(b string) string {
		return Head("POST "+goodPath, chunked, "Trailer: X-A") + Chunk(b) + "0\r\nX-A: " + Mark + "\r\nContent-Length: 5\r\n\r\n"
	})
	good("leading zeros", func(b string) string {
		return Head("POST "+goodPath, chunked) + fmt.Sprintf("000%x\r\n%s\r\n000\r\n\r\n", len(b), b)
	})
	good("lines that end in LF", func(b string) string {
		return strings.ReplaceAll(Head("POST "+goodPath, length(b)), "\r\n", "\n") + b
	})
	good("HTTP/1.0", func(b string) string { return "POST " + goodPath + " HTTP/1.0\r\n" + length(b) + "\r\n\r\n" + b })
	good("length and chunked", func(b string) string {
		return Head("POST "+goodPath, "Content-Length: 3", chunked) + Chunk(b) + "0\r\n\r\n"
	})
	good("at the limit", func(b string) string { b += strings.Repeat(" ", Limit-len(b)); return posted(goodPath, b) })
	good("at the limit, chunked", func(b string) string {
		b += strings.Repeat(" ", Limit-len(b))
		return Head("POST "+goodPath, chunked) + Chunk(b[:9]) + Chunk(b[9:]) + "0\r\n\r\n"
	})

	for name, value := range map[string]string{"two": "5\r\nContent-Length: 6", "list": "5, 5", "plus": "+5", "minus": "-5", "hexadecimal": "0x5", "words": Mark, "fraction": "5.0", "nothing": "", "too large": "99999999999999999999", "exponent": "5e0", "underscore": "1_0"} {
		framed("400", "length, "+name, "12345", "Content-Length: "+value)
	}
	framed("413 body-too-large", "length, largest", "12345", "Content-Length: 9223372036854775807")
	framed("413 body-too-large", "over the limit", strings.Repeat(" ", Limit+1), fmt.Sprintf("Content-Length: %d", Limit+1))
	framed("413 body-too-large", "over the limit, chunked", Chunk(strings.Repeat(" ", Limit+1))+"0\r\n\r\n", chunked)
	framed("413 body-too-large", "over the limit, endless", strings.Repeat(Chunk(strings.Repeat(" ", 1000)), 100), chunked)
	for name, value := range map[string]string{"gzip": "gzip", "list": "gzip, chunked", "twice": "chunked, chunked", "lines": "chunked\r\nTransfer-Encoding: chunked", "mark": Mark, "identity": "identity", "form feed": "\vchunked", "quoted": `"chunked"`, "not last": "chunked, identity"} {
		want := "501"
		if name == "form feed" {
			want = "400"
		}
		framed(want, "coding, "+name, "0\r\n\r\n", "Transfer-Encoding: "+value)
	}
	framed("400", "coding, space before the colon", "0\r\n\r\n", "Transfer-Encoding : chunked", "Content-Length: 5")
	for name, rest := range map[string]string{
		"no number": "zz\r\n", "minus": "-1\r\n", "prefix": "0x5\r\n12345\r\n0\r\n\r\n", "too large": "ffffffffffffffffff\r\n1", "no line": "5", "no CR LF behind": "5\r\n12345X\r\n0\r\n\r\n", "short": "ff\r\n12345\r\n0\r\n\r\n", "no last": "5\r\n12345\r\n", "nothing": "", "space": " 5\r\n12345\r\n0\r\n\r\n",
		"long extension": "5;" + strings.Repeat(Mark, 3000) + "\r\n12345\r\n0\r\n\r\n", "many extensions": strings.Repeat("1;"+strings.Repeat("x", 2000)+"\r\n1\r\n", 20) + "0\r\n\r\n", "long trailer": "5\r\n12345\r\n0\r\nX: " + strings.Repeat(Mark, 5000) + "\r\n\r\n", "bad trailer": "5\r\n12345\r\n0\r\n" + Mark + "\r\n\r\n",
	} {
		framed(cut, "chunk, "+name, rest, chunked)
	}
	framed(cut, "length, short", "12345", "Content-Length: 6")

	c.add("HTTP/1.0, chunked", "POST "+goodPath+" HTTP/1.0\r\n"+chunked+"\r\n\r\n"+Chunk(c.Task())+"0\r\n\r\n", "", "400 not-json")
	c.add("HTTP/0.9", "POST "+goodPath+"\r\n\r\n", "", "400")
	c.add("HTTP/2.0", "POST "+goodPath+" HTTP/2.0\r\nHost: h\r\n\r\n", "", "505")
	c.add("HTTP/1.2", "POST "+goodPath+" HTTP/1.2\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "", "400 not-json")
	c.add("hello of HTTP/2, changed", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "", "404 not-found")
	c.add("PROXY protocol", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"+posted(goodPath, c.Task()), "", "400")
	c.add("PROXY protocol, version 2", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"+posted(goodPath, c.Task()), "", "400")
	c.add("hello of TLS", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"+Mark, "", "400")
	c.add("only line ends", "\r\n\r\n\r\n", "", "400")

	body := c.Task()
	c.add("expects to go on", Head("POST "+goodPath, length(body), "Expect: 100-continue")+body, body, "100", "200")
	c.add("expects to go on, no token", Head("POST "+Path, length(body), "Expect: 100-continue")+body, body, "401 unauthorized")
	c.add("expects to go on, too large", Head("POST "+goodPath, fmt.Sprintf("Content-Length: %d", Limit+1), "Expect: 100-continue"), "", "413 body-too-large")
	c.add("expects something else", Head("POST "+goodPath, length(body), "Expect: "+Mark)+body, body, "417")

	c.addSmuggling()
}

// addSmuggling adds connections on which more stands than one request, or what
// a proxy and the relay may see as different numbers of them.
func (c *Corpus) addSmuggling() {
	smuggled := func(name, request string, bodies []string, want ...string) {
		c.Cases = append(c.Cases, Case{"smuggled, " + name, request, want, bodies})
	}
	first, second := c.Task(), c.Task()
	smuggled("pipelined", posted(goodPath, first)+posted(Path, Mark)+Head("GET "+goodPath), []string{first}, "200", "401 unauthorized")
	smuggled("pipelined, good ones", posted(goodPath, first+" ")+posted(goodPath, second)+posted(goodPath, "{"), []string{first, second, "{"}, "200", "200", "400 not-json")
	third := c.Task()
	smuggled("behind a short length", Head("POST "+goodPath, fmt.Sprintf("Content-Length: %d", len(third)))+third+posted(Path, Mark), []string{third}, "200", "401 unauthorized")
	smuggled("behind a short length, junk", posted(goodPath, third)+Mark+"\r\n\r\n", []string{third}, "200", "400")
	fourth := c.Task()
	smuggled("behind the last chunk", Head("POST "+goodPath, "Content-Length: 4", "Transfer-Encoding: chunked")+Chunk(fourth)+"0\r\n\r\n"+Head("PUT "+goodPath), []string{fourth}, "200", "405 method-not-allowed")
	// What stands behind a body that was refused unread, or that broke off, is
	// never looked at: it would be found at another place than the sender meant.
	for name, refused := range map[string]string{
		"no token": Head("POST "+Path, "Transfer-Encoding: chunked"), "no path": Head("POST /"+Mark, "Transfer-Encoding: chunked"),
	} {
		want := map[string]string{"no token": "401 unauthorized", "no path": "404 not-found"}[name]
		smuggled("behind bad chunks, "+name, refused+"zz\r\n"+posted(goodPath, c.Task()), nil, want)
		smuggled("behind good chunks, "+name, refused+Chunk(Mark)+"0\r\n\r\n"+posted(goodPath, c.Task()), nil, want)
	}
	ofType := Head("POST "+goodPath, "Content-Type: "+Mark, "Transfer-Encoding: chunked")
	smuggled("behind bad chunks, type", ofType+"zz\r\n"+posted(goodPath, c.Task()), nil, "400 body-incomplete")
	fifth := c.Task()
	smuggled("behind good chunks, type", ofType+Chunk(Mark)+"0\r\n\r\n"+posted(goodPath, fifth), []string{Mark, fifth}, "415 unsupported-media-type", "200")
	smuggled("behind broken chunks", Head("POST "+goodPath, "Transfer-Encoding: chunked")+"5\r\n12345zz\r\n"+posted(goodPath, c.Task()), nil, "400 body-incomplete")
	smuggled("behind a body too large", posted(goodPath, strings.Repeat(" ", Limit+1))+posted(goodPath, c.Task()), nil, "413 body-too-large")
}
