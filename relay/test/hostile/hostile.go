// Package hostile is what a relay has to answer rightly whoever sends it: bodies,
// ids, queries, headers, request lines, framing and addresses that are odd, and
// the answer to each. The tests of package receiver hold the receiver against it,
// and the fault suite the whole program.
package hostile

import (
	"fmt"
	"strings"
)

// Mark stands in every hostile text. Where it comes out, something from outside
// has come through.
const Mark = "zqx"

// What the relay has to be set to, besides [Environ].
const (
	// Limit is the size limit of bodies.
	Limit = 32 << 10
	// Path is that of the callback URL, Token its token.
	Path  = "/webhook/apixo"
	Token = "tok-9f3c2a7d51e84b06"

	goodPath = Path + "/" + Token
)

// Environ is how a relay is set that gives these answers. Whoever sends from
// 127.0.0.1 is a proxy that is believed, so that the corpus can come from any
// address.
func Environ() []string {
	return []string{
		"RELAY_WEBHOOK_TOKENS=" + Token, fmt.Sprintf("RELAY_MAX_BODY_BYTES=%d", Limit), "RELAY_CALLBACK_ATTRIBUTES=model,tenant",
		"RELAY_TRUSTED_PROXIES=127.0.0.1,10.0.0.0/8", "RELAY_ALLOWED_CIDRS=127.0.0.1,203.0.113.0/24,2001:db8::/32",
	}
}

// Case is what a sender writes on a connection of its own.
type Case struct {
	Name, Request string
	// Want is how it is answered, request by request: "STATUS TYPE" by the relay,
	// with the type of the problem if it is one, and "STATUS" alone where it is 200
	// or comes from the HTTP library.
	Want []string
	// Bodies are those of the answers after which something is kept, in order.
	Bodies []string
}

// Plain is what can be sent in HTTP/2 too: hostile in its body and target alone.
type Plain struct{ Name, Target, Body, Want string }

// Corpus is all that is hostile. Its good webhooks are of tasks that no other one
// in it is about.
type Corpus struct {
	Cases []Case
	Plain []Plain // which are among the cases too
	tasks int
}

// New makes the corpus.
func New() *Corpus {
	c := &Corpus{}
	c.addBodies()
	c.addQueries()
	c.addSenders()
	c.addPaths()
	c.addTokens()
	c.addBrowsers()
	c.addHeaders()
	c.addFraming()
	return c
}

// Task is a good webhook that no other has come with.
func (c *Corpus) Task() string {
	c.tasks++
	return success(fmt.Sprintf("good_%d", c.tasks))
}

func success(taskID string) string {
	return fmt.Sprintf(`{"code":200,"message":"success","data":{"taskId":%q,"state":"success","resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/output/abc.jpg\"]}","costTime":12500,"createTime":1704067200000,"completeTime":1704067212500}}`, taskID)
}

func (c *Corpus) addPlain(name, target, body, want string) {
	c.Plain = append(c.Plain, Plain{name, target, body, want})
	c.add(name, posted(target, body), body, want)
}

func (c *Corpus) add(name, request, body string, want ...string) {
	c.Cases = append(c.Cases, Case{name, request, want, []string{body}})
}

// posted is a whole request.
func posted(target, body string, headers ...string) string {
	return Head("POST "+target, append(headers, fmt.Sprintf("Content-Length: %d", len(body)))...) + body
}

// Head is a request up to its body.
func Head(line string, headers ...string) string {
	return line + " HTTP/1.1\r\nHost: h\r\n" + strings.Join(append(headers, "\r\n"), "\r\n")
}

func encodeAll(s string) (encoded string) {
	for _, c := range []byte(s) {
		encoded += fmt.Sprintf("%%%02X", c)
	}
	return encoded
}
