package receiver_test

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/hostile"
	"github.com/apixo-relay/apixo-relay/schema"
)

// TestHostileHTTP2 sends the bodies and queries of the corpus, and what is odd
// in frames and headers, by HTTP/2. The log tells how each was answered; what
// the library ends by itself has no line there.
func TestHostileHTTP2(t *testing.T) {
	t.Parallel()
	r := start(t, corpusEnv("RELAY_LOG_FORMAT=json")...)
	ca, addr, _ := r.serveTLS(t, func(*http.Server) {})
	c := hostile.New()
	lines := 0
	exchange := func(name, want string, frames ...[]byte) map[string]any {
		t.Helper()
		conn := dialHTTP2(t, addr, ca)
		defer conn.NetConn().Close()
		if _, err := conn.Write(bytes.Join(frames, nil)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := conn.ended(1); err != nil && want != "none" {
			t.Errorf("%s: %v", name, err)
		}
		if want == "none" {
			return nil
		}
		lines++
		line := r.log.webhook(t, lines)
		got := fmt.Sprint(line["status"])
		if problem, ok := line["problem"].(string); ok {
			got += " " + problem
		}
		if got != want {
			t.Errorf("%s: answered %s, want %s", name, got, want)
		}
		return line
	}

	k := newKept()
	for _, p := range c.Plain {
		frames := [][]byte{frame(frameHeaders, endHeaders, 1, postFields(p.Target))}
		for rest := p.Body; len(rest) > 0; {
			n := min(len(rest), 16<<10) // the size of a frame
			frames = append(frames, frame(frameData, 0, 1, []byte(rest[:n])))
			rest = rest[n:]
		}
		line := exchange(p.Name, p.Want, append(frames, frame(frameData, endStream, 1, nil))...)
		sequence, _ := line["sequence"].(float64)
		switch line["stream"] {
		case schema.DefaultStream:
			k.events[uint64(sequence)], _ = line["taskId"].(string)
		case schema.DefaultQuarantine:
			k.quarantined[uint64(sequence)] = p.Body
		}
	}

	const no = "401 unauthorized"
	body := c.Task()
	headers := func(name, want string, block []byte) {
		exchange("HTTP/2, "+name, want, frame(frameHeaders, endStream|endHeaders, 1, block))
	}
	length := func(n int) []byte { return postFields(goodPath, "content-length", fmt.Sprint(n)) }
	headers("no token", no, postFields(webhookPath))
	headers("method", "405 method-not-allowed", fields(":method", "GET", ":scheme", "https", ":path", goodPath))
	headers("star", "404 not-found", fields(":method", "OPTIONS", ":scheme", "https", ":path", "*"))
	headers("sender", "403 address-not-allowed", postFields(goodPath, "x-forwarded-for", "203.0.113.7", "x-forwarded-for", "192.0.2.1"))
	headers("encoding", "415 unsupported-media-type", postFields(goodPath, "content-encoding", mark))
	for name, block := range map[string][]byte{
		"line in a value": postFields(webhookPath, "x-a", mark+"\r\nauthorization: x"), "zero in a value": postFields(webhookPath, "x-a", mark+"\x00"), "line in a name": postFields(webhookPath, "x\r\na", mark), "capitals in a name": postFields(webhookPath, "X-A", mark),
		"connection": postFields(webhookPath, "connection", "close"), "chunked": postFields(webhookPath, "transfer-encoding", "chunked"), "another method behind": postFields(webhookPath, ":method", "GET"), "path twice": postFields(webhookPath, ":path", "/"),
		"no path": fields(":method", "POST", ":scheme", "https"), "empty path": fields(":method", "POST", ":scheme", "https", ":path", ""), "relative path": fields(":method", "POST", ":scheme", "https", ":path", mark), "line in the path": postFields("/\r\n" + mark), "unknown pseudo-header": postFields(webhookPath, ":"+mark, mark),
		"too many headers": append(postFields(webhookPath), bytes.Repeat(fields("x-a", mark), 500)...), "bad compression": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		headers(name, "none", block)
	}
	cut := func(name, want string, block []byte, data ...[]byte) {
		exchange("HTTP/2, "+name, want, append([][]byte{frame(frameHeaders, endHeaders, 1, block)}, data...)...)
	}
	cut("length over the limit", "413 body-too-large", length(hostile.Limit+1))
	cut("shorter than its length", "400 body-incomplete", length(len(body)+1), frame(frameData, endStream, 1, []byte(body)))
	cut("longer than its length", "400 body-incomplete", length(len(body)-1), frame(frameData, endStream, 1, []byte(body)))
	cut("token in a trailer", no, postFields(webhookPath, "trailer", "authorization"), frame(frameData, 0, 1, []byte(body)), frame(frameHeaders, endStream|endHeaders, 1, fields("authorization", "Bearer "+goodToken)))
	cut("too large", "413 body-too-large", postFields(goodPath), frame(frameData, 0, 1, make([]byte, 16<<10)), frame(frameData, 0, 1, make([]byte, 16<<10)), frame(frameData, 0, 1, []byte("x")))
	r.wantKept(t, k)
	r.Close()
	r.wantCleanLog(t)
}
