package hostile

import (
	"encoding/base64"
	"strings"
)

// addSenders adds requests that a proxy in front of the relay passes on. The
// right-most address that is no proxy's has to be one that may send.
func (c *Corpus) addSenders() {
	const in, out, proxy = "203.0.113.7", "192.0.2.1", "10.9.9.9"
	from := func(good bool, name string, headers ...string) {
		body := c.Task()
		if good {
			c.add("sender, "+name, posted(goodPath, body, headers...), body, "200")
			return
		}
		c.add("sender, "+name, posted(goodPath, body, headers...), body, "403 address-not-allowed")
		// Whoever may not send learns nothing about tokens.
		c.add("sender without a token, "+name, posted(Path, body, headers...), body, "403 address-not-allowed")
	}
	const x, f = "X-Forwarded-For: ", "Forwarded: "
	many := strings.Repeat(out+", ", 600)
	for name, value := range map[string]string{
		"address": in, "port": in + ":65535", "IPv6": "2001:db8::7", "IPv6 in brackets": "[2001:db8::7]", "IPv6 and port": "[2001:db8::7]:1", "mapped": "::ffff:" + in, "zone": "2001:db8::7%" + Mark,
		"spoofed before it": out + ", " + in, "junk before it": Mark + "\t, \"" + Mark + "\", " + in, "proxies behind it": in + "," + proxy + ",127.0.0.1", "600 before it": many + in,
		"spaces": "   " + in + "\t",
	} {
		from(true, name, x+value)
	}
	from(false, "proxies only", x+proxy+", 10.0.0.1, 127.0.0.1") // the first of them, then
	for name, value := range map[string]string{
		"address": out, "spoofed before it": in + ", " + out, "spoofed, proxies behind it": in + ", " + out + ", " + proxy, "spoofed as a proxy": proxy + ", " + in + "," + out, "600 before it": strings.Repeat(in+",", 600) + out,
		"nothing": "", "comma": in + ",", "commas": ",,,", "name": "example.com", "unknown": "unknown", "quoted": `"` + in + `"`, "network": in + "/24", "leading zeros": "203.0.113.007", "number": "3405803783", "hexadecimal": "0xcb.0.113.7",
		"short": "203.0.113", "port too large": in + ":65536", "port no number": in + ":" + Mark, "port twice": in + ":1:2", "open bracket": "[2001:db8::7", "space inside": "203.0.113.7 " + Mark, "IPv6 and port, no brackets": "2001:db8::7:99999",
		"link-local": "fe80::1%eth0", "zone of IPv4": in + "%" + Mark, "mapped": "::ffff:" + out, "compatible": "::203.0.113.7", "NAT64": "64:ff9b::203.0.113.7", "junk": Mark + "'--", "not ASCII": "２０３.0.113.7", "invalid UTF-8": in + "\xff",
		"loopback of IPv6": "::1", "Unix socket": "@", "semicolon": in + ";" + out,
	} {
		from(false, name, x+value)
	}
	for name, value := range map[string]string{
		"for": "for=" + in, "capitals": "FOR=" + in, "quoted": `for="` + in + `"`, "port": `for="` + in + `:80"`, "IPv6": `for="[2001:db8::7]:80"`, "with the rest": "by=" + Mark + ";for=" + in + `;host="` + Mark + `";proto=https`,
		"spoofed before it": "for=" + out + ", for=" + in, "proxy behind it": "for=" + in + ", for=" + proxy,
	} {
		from(true, "Forwarded, "+name, f+value)
	}
	for name, value := range map[string]string{
		"for": "for=" + out, "spoofed before it": "for=" + in + ", for=" + out, "spoofed in the host": "for=" + out + `;host="x,for=` + in + `"`, "spoofed in the host by a quote": "for=" + out + `;host="x\",for=` + in + `;y=\""`,
		"twice": "for=" + out + ";for=" + in, "open quote": `for="` + in, "obfuscated": "for=_" + Mark, "unknown": "for=unknown", "nothing": "", "no for": "by=" + in, "space before =": "for =" + in, "space behind =": "for= " + in, "junk": ";;==,,", "for alone": "for",
	} {
		from(false, "Forwarded, "+name, f+value)
	}
	from(true, "several lines", x+out, x+out+", "+in)
	from(true, "several lines, proxies last", x+in, x+proxy)
	from(false, "several lines, spoofed first", x+in, x+out)
	from(false, "several lines, nothing last", x+in, x)
	from(true, "both agree", x+in, f+"for="+in)
	from(false, "Forwarded spoofed beside", x+out, f+"for="+in)
	from(false, "X-Forwarded-For spoofed beside", x+in, f+"for="+out)
	from(false, "Forwarded junk beside", x+in, f+Mark)
	from(true, "other headers", "X-Real-IP: "+out, "X-Client-IP: "+out, "X_Forwarded_For: "+out, "True-Client-IP: "+Mark, "Via: 1.1 "+Mark)
	// What comes behind the body says nothing about the sender.
	body := c.Task()
	c.add("sender in a trailer", Head("POST "+goodPath, x+out, "Trailer: X-Forwarded-For", "Transfer-Encoding: chunked")+Chunk(body)+"0\r\n"+x+in+"\r\n\r\n", body, "403 address-not-allowed")
}

// addTokens adds requests by whoever has no token, and by whoever has one and
// writes it in an unusual way.
func (c *Corpus) addTokens() {
	b64 := base64.StdEncoding.EncodeToString
	with := func(want, name string, headers ...string) {
		body := c.Task()
		c.add("token, "+name, posted(Path, body, headers...), body, want)
	}
	const no, a = "401 unauthorized", "Authorization: "
	basic := a + "Basic "
	good := b64([]byte("relay:" + Token))
	for name, value := range map[string]string{
		"Basic alone": "Basic", "Basic and a space": "Basic ", "no base64": "Basic !!!!", "one character": "Basic A", "padding only": "Basic ====", "no colon": "Basic " + b64([]byte(Token)),
		"colon only": "Basic " + b64([]byte(":")), "no password": "Basic " + b64([]byte(Token+":")), "NUL behind": "Basic " + b64([]byte("relay:"+Token+"\x00")), "line behind": "Basic " + b64([]byte("relay:"+Token+"\n")),
		"two colons": "Basic " + b64([]byte("relay::"+Token)), "no padding": "Basic " + strings.TrimRight(b64([]byte("r:"+Token)), "="), "padded too much": "Basic " + good + "=", "two spaces": "Basic  " + good, "tab": "Basic\t" + good,
		"another scheme": "Digest " + good, "no scheme": good, "quoted": `Basic "` + good + `"`, "two at once": "Basic " + good + ", Basic " + good, "not ASCII": "Basic " + good + "\xff", "random bytes": "Basic " + b64([]byte{0, 0xff, ':', 0xfe, '\n', 0x1b}),
		"Bearer alone": "Bearer", "Bearer quoted": `Bearer "` + Token + `"`, "Bearer and a comma": "Bearer " + Token + ",", "Bearer and a tab": "Bearer\t" + Token, "Bearer of base64": "Bearer " + good, "Bearer, long": "Bearer " + strings.Repeat(Mark, 4000),
		"Bearer percent-encoded": "Bearer " + encodeAll(Token), "full width": "Bearer ｔｏｋ-9f3c2a7d51e84b06", "nothing": "", "mark": Mark, "SQL": "Bearer ' OR 1=1 --",
	} {
		with(no, name, a+value)
	}
	with(no, "none")
	with(no, "wrong first, good second", a+"Bearer "+Mark, a+"Bearer "+Token)
	with(no, "in other headers", "Proxy-Authorization: Bearer "+Token, "X-Api-Key: "+Token, "Cookie: token="+Token, "X-Authorization: Bearer "+Token)
	with("200", "good first, wrong second", a+"Bearer "+Token, a+"Bearer "+Mark)
	with("200", "scheme in capitals", a+"BASIC "+good)
	with("200", "space behind", basic+good+" ")
	with("200", "odd user", basic+b64([]byte(Mark+"\r\n\x00\xff:"+Token)))
	body := c.Task()
	c.add("token in a trailer", Head("POST "+Path, "Trailer: Authorization", "Transfer-Encoding: chunked")+Chunk(body)+"0\r\n"+a+"Bearer "+Token+"\r\n\r\n", body, no)
	for name, body := range map[string]string{"nothing": "", "no JSON": Mark, "no result": `{"data":{"taskId":"` + Mark + `"}}`, "too large": strings.Repeat(" ", Limit+1)} {
		c.add("no token, body "+name, posted(Path, body), body, no)
	}
}
