package hostile

import (
	"fmt"
	"strings"
)

// addBrowsers adds what a browser sends for a web page of another site: refused,
// with the token and without.
func (c *Corpus) addBrowsers() {
	with := func(good bool, name string, headers ...string) {
		body := c.Task()
		if good {
			c.add("browser, "+name, posted(goodPath, body, headers...), body, "200")
			return
		}
		c.add("browser, "+name, posted(goodPath, body, headers...), body, crossSite)
		c.add("browser without a token, "+name, posted(Path, body, headers...), body, crossSite)
	}
	const site, origin = "Sec-Fetch-Site: ", "Origin: "
	for _, value := range []string{"cross-site", "same-site", "SAME-ORIGIN", "none, none", Mark, strings.Repeat(Mark, 1000)} {
		with(false, "site "+value, site+value)
	}
	with(false, "site and an origin that could be", site+"cross-site", origin+"http://h")
	with(false, "site twice", site+"cross-site", site+"none")
	for _, value := range []string{"null", "https://" + Mark, "http://h:8720", "http://" + Mark + ".h", "http://h." + Mark, "h", Mark, "//", "http://%zz"} {
		with(false, "origin "+value, origin+value)
	}
	with(false, "a form", origin+"https://"+Mark, "Content-Type: text/plain", "Referer: https://"+Mark, "Cookie: "+Mark)
	with(true, "nothing of a site", site, origin)
	with(true, "a person's own address line", site+"none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-User: ?1")
	with(true, "a page of the relay's own", site+"same-origin", origin+"http://h", "Sec-Fetch-Mode: cors")
	with(true, "an older one's page of the relay's own", origin+"http://h")
	body := c.Task()
	c.add("browser, preflight", Head("OPTIONS "+goodPath, origin+"https://"+Mark, "Access-Control-Request-Method: POST", "Access-Control-Request-Private-Network: true"), "", "405 method-not-allowed")
	c.add("browser, in a trailer", Head("POST "+goodPath, "Trailer: Origin", "Transfer-Encoding: chunked")+Chunk(body)+"0\r\n"+origin+"https://"+Mark+"\r\n\r\n", body, "200")
}

const crossSite = "403 cross-site"

// OpenEnviron is how a relay is set that answers as [NewOpen] says: its loopback
// address is all that keeps strangers away.
func OpenEnviron() []string { return []string{fmt.Sprintf("RELAY_MAX_BODY_BYTES=%d", Limit)} }

// NewOpen makes the corpus for a relay that asks nobody for a token. It has no
// plain cases.
func NewOpen() *Corpus {
	c := &Corpus{}
	at := func(want, name, line, host string, headers ...string) {
		body := c.Task()
		headers = append(headers, fmt.Sprintf("Content-Length: %d", len(body)))
		c.add("open, "+name, line+"\r\n"+host+strings.Join(append(headers, "\r\n"), "\r\n")+body, body, want)
	}
	const post, foreign = "POST " + Path + " HTTP/1.1", "421 foreign-host"
	for _, host := range []string{
		"localhost", "LocalHost:8720", "localhost.", "localhost.:1", "localhost:", "relay.localhost:8720", "a.b.localhost.",
		"127.0.0.1", "127.0.0.1:8720", "127.255.255.254:1", "[::1]", "[::1]:8720", "[0:0:0:0:0:0:0:1]:1", "[::ffff:127.0.0.1]:1", "127.0.0.1:99999999", "",
	} {
		at("200", "own host "+host, post, "Host: "+host+"\r\n")
	}
	for _, host := range []string{
		Mark, Mark + ":8720", Mark + ".example", "hooks.example.com", "localhost." + Mark, "localhost.example:8720", "not-localhost", "xlocalhost", "localhost..", "localhost:" + Mark,
		"127.0.0.1." + Mark, "127.0.0.1.nip.example", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.256", "0.0.0.0", "0.0.0.0:8720", "[::]", "[::]:8720", "::1", "[::1", "::1]", "[::1]" + Mark, "[::2]", "[::ffff:10.0.0.1]", "10.0.0.1", "192.168.0.1:8720", "169.254.169.254", "128.0.0.1",
		".", ":", ":8720", "[]", strings.Repeat(Mark+".", 80),
	} {
		at(foreign, "host "+host, post, "Host: "+host+"\r\n")
	}
	at("400", "a user's host", post, "Host: "+Mark+"@localhost\r\n")
	// The target is what counts where it names a host (RFC 9112, section 3.2.2).
	at("200", "own host in the target", "POST http://localhost:1"+Path+" HTTP/1.1", "Host: "+Mark+"\r\n")
	at(foreign, "host in the target", "POST http://"+Mark+Path+" HTTP/1.1", "Host: localhost\r\n")
	at("200", "HTTP/1.0 without a host", "POST "+Path+" HTTP/1.0", "")
	at(foreign, "HTTP/1.0", "POST "+Path+" HTTP/1.0", "Host: "+Mark+"\r\n")
	// To a browser the page of a name that leads here by now is of this very site.
	at(foreign, "a name that was bound anew", post, "Host: "+Mark+":8720\r\n", "Origin: http://"+Mark+":8720")
	at(foreign, "a name that was bound anew, and a site", post, "Host: "+Mark+":8720\r\n", "Origin: http://"+Mark+":8720", "Sec-Fetch-Site: same-origin")
	at(foreign, "names of proxies", post, "Host: "+Mark+"\r\n", "X-Forwarded-Host: localhost", "Forwarded: host=localhost", "X-Host: localhost")
	at("200", "names of proxies beside it", post, "Host: localhost\r\n", "X-Forwarded-Host: "+Mark, "Forwarded: host="+Mark)
	at(crossSite, "a page of another site", post, "Host: localhost:8720\r\n", "Sec-Fetch-Site: cross-site", "Origin: https://"+Mark)
	at(crossSite, "a page of another site, in an older browser", post, "Host: 127.0.0.1:8720\r\n", "Origin: https://"+Mark)
	at(crossSite, "a page on another port", post, "Host: localhost:8720\r\n", "Origin: http://localhost:3000", "Sec-Fetch-Site: same-site")
	at(crossSite, "a file", post, "Host: localhost:8720\r\n", "Origin: null")
	return c
}
