package archive

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// origin serves files that can be told from their names, such as cat-2000.png, which is 2,000
// bytes of its own that begin as a PNG does. The path before the name says what goes wrong on
// the way: see handle.
type origin struct {
	URL string
	// sent counts bytes of files, strange what no origin should be told.
	sent    atomic.Int64
	strange atomic.Pointer[string]

	mu    sync.Mutex
	asked map[string]int
	held  chan struct{} // closed when files of /held/ may go on
}

func startOrigin(t testing.TB) *origin {
	t.Helper()
	return originBy(t, (*httptest.Server).Start)
}

// originBy is startOrigin for a server that is started otherwise.
func originBy(t testing.TB, start func(*httptest.Server)) *origin {
	t.Helper()
	o := &origin{asked: make(map[string]int), held: make(chan struct{})}
	server := httptest.NewUnstartedServer(o)
	start(server)
	o.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections() // of what is endless
		server.Close()
		if s := o.strange.Load(); s != nil {
			t.Errorf("an origin was sent %s", *s)
		}
	})
	return o
}

// Asked is how often a path was asked for.
func (o *origin) Asked(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[path]
}

// AskedInAll is how often anything was asked for.
func (o *origin) AskedInAll() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, asked := range o.asked {
		n += asked
	}
	return n
}

// Release lets the files below /held/ go on.
func (o *origin) Release() { close(o.held) }

// ServeHTTP implements http.Handler.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked[r.URL.Path]++
	n := o.asked[r.URL.Path]
	o.mu.Unlock()
	for _, name := range []string{"Authorization", "Cookie", "Referer", "Proxy-Authorization", "X-Amz-Date"} {
		if value := r.Header.Get(name); value != "" {
			o.strange.Store(new(name + ": " + value))
		}
	}
	w.Header().Set("Set-Cookie", "session=secret")
	w.Header().Set("Content-Type", "text/html") // it is not to be believed
	fault, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	args := strings.Split(fault, ",")
	number := func(i int) int {
		if i >= len(args) {
			return 0
		}
		v, _ := strconv.Atoi(args[i])
		return v
	}
	o.handle(w, r, args[0], number, n)
}

// handle answers the nth request for a path with a fault, and its numbers.
func (o *origin) handle(w http.ResponseWriter, r *http.Request, fault string, number func(int) int, n int) {
	name := path.Base(r.URL.Path)
	size := sizeOf(name)
	length := func(n int64) { w.Header().Set("Content-Length", strconv.FormatInt(n, 10)) }
	switch fault {
	case "ok":
		length(size)
		o.send(w, name, size)
	case "chunked": // of unknown length
		o.send(flushing{w}, name, size)
	case "cut": // the first so many times
		length(size)
		if n > number(1) {
			o.send(w, name, size)
			return
		}
		o.send(flushing{w}, name, size/2)
		panic(http.ErrAbortHandler)
	case "slow": // in pieces
		length(size)
		o.send(&slowly{flushing{w}, r.Context(), size / 20, 0}, name, size)
	case "held": // in the middle, until Release
		length(size)
		o.send(flushing{w}, name, size/2)
		select {
		case <-o.held:
			o.send(skipping{w, new(size / 2)}, name, size)
		case <-r.Context().Done():
		}
	case "endless":
		for r.Context().Err() == nil {
			o.send(w, name, size)
		}
	case "more": // is promised than comes
		length(size + 100)
		o.send(w, name, size)
	case "less": // is promised than comes, and what is over would do as another file
		o.raw(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size), name, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
	case "garbage":
		o.raw(w, "\x00\xff\x16\x03\x01", name, "")
	case "status":
		http.Error(w, "no", number(1))
	case "flaky": // the first so many times
		if n <= number(2) {
			http.Error(w, "later", number(1))
			return
		}
		length(size)
		o.send(w, name, size)
	case "expires": // after it was cut off once
		if n > 1 {
			http.Error(w, "Request has expired", http.StatusForbidden)
			return
		}
		length(size)
		o.send(flushing{w}, name, size/2)
		panic(http.ErrAbortHandler)
	case "gzip": // without being asked to
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(zipped(name))
	case "redirect":
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	default:
		http.NotFound(w, r)
	}
}

// send writes the first bytes of a file, as many as anybody still reads.
func (o *origin) send(w io.Writer, name string, n int64) {
	sent, _ := io.Copy(w, io.LimitReader(newContent(name), n))
	o.sent.Add(sent)
}

// raw writes a file between texts to the bare connection, which it ends some time after that.
func (o *origin) raw(w http.ResponseWriter, before, name, after string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, before)
	o.send(conn, name, sizeOf(name))
	_, _ = io.WriteString(conn, after)
	if after != "" {
		// As long as the client keeps the connection, and not for ever.
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, conn)
	}
}

// flushing sends what it is given at once.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	return n, errors.Join(err, http.NewResponseController(f.ResponseWriter).Flush())
}

// slowly pauses after each piece.
type slowly struct {
	flushing
	ctx         context.Context
	piece, sent int64
}

func (s *slowly) Write(b []byte) (n int, err error) {
	n, err = s.flushing.Write(b)
	for s.sent += int64(n); s.sent >= s.piece && s.piece > 0; s.sent -= s.piece {
		select {
		case <-s.ctx.Done():
			return n, s.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return n, err
}

// skipping leaves out the first bytes.
type skipping struct {
	w    io.Writer
	left *int64
}

func (s skipping) Write(b []byte) (int, error) {
	skip := min(*s.left, int64(len(b)))
	*s.left -= skip
	n, err := s.w.Write(b[skip:])
	return int(skip) + n, err
}

// heads are how files begin, and mediaTypes what that makes them.
var (
	heads = map[string]string{
		".png": "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00",
		".jpg": "\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00",
		".mp3": "ID3\x03\x00\x00\x00\x00\x00\x40",
		".mp4": "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
		".bin": "\x00\x01\x02\xfe\xff",
	}
	mediaTypes = map[string]string{
		".png": "image/png", ".jpg": "image/jpeg", ".mp3": "audio/mpeg", ".mp4": "video/mp4", ".bin": "application/octet-stream",
	}
)

// noise is what files are filled with.
var noise = func() []byte {
	b := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // which has no errors
	return b
}()

// newContent is the file with that name: its head, a digest of its name, and noise that begins
// where that digest says.
func newContent(name string) io.Reader {
	own := sha256.Sum256([]byte(name))
	at := int(binary.BigEndian.Uint32(own[:]) % uint32(len(noise)))
	return io.LimitReader(io.MultiReader(
		strings.NewReader(heads[path.Ext(name)]), bytes.NewReader(own[:]), bytes.NewReader(noise[at:]), &repeated{},
	), sizeOf(name))
}

// repeated is the noise again and again.
type repeated struct{ at int }

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, noise[r.at:])
	r.at = (r.at + n) % len(noise)
	return n, nil
}

// sizeOf is the size in a name such as cat-2000.png.
func sizeOf(name string) int64 {
	stem := strings.TrimSuffix(name, path.Ext(name))
	size, _ := strconv.ParseInt(stem[strings.LastIndexByte(stem, '-')+1:], 10, 64)
	return size
}

// digestOf is the SHA-256 of the file with that name.
func digestOf(name string) string {
	hash := sha256.New()
	_, _ = io.Copy(hash, newContent(name))
	return hex.EncodeToString(hash.Sum(nil))
}

// zipped is a file as a zealous origin sends it.
func zipped(name string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.Copy(w, newContent(name))
	_ = w.Close()
	return b.Bytes()
}

// canary is a listener that nobody may connect to.
type canary struct {
	URL   string
	times atomic.Int64
}

func startCanary(t testing.TB) *canary {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return canaryOn(t, listener)
}

// canaryOn is startCanary on a listener, which is closed with the test.
func canaryOn(t testing.TB, listener net.Listener) *canary {
	t.Helper()
	c := &canary{URL: "http://" + listener.Addr().String()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.times.Add(1)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
		if n := c.times.Load(); n > 0 {
			t.Errorf("what nobody may connect to was connected to %d times", n)
		}
	})
	return c
}

// The origin is as bad as its paths say: by a plain client, which no archive's is.
func TestOriginMisbehaves(t *testing.T) {
	t.Parallel()
	o := startOrigin(t)
	// Each request on a connection of its own, on which nothing of another one is left.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (status int, body []byte, err error) {
		res, err := client.Get(o.URL + path)
		if err != nil {
			return 0, nil, err
		}
		defer res.Body.Close()
		body, err = io.ReadAll(res.Body)
		return res.StatusCode, body, err
	}
	whole, _ := io.ReadAll(newContent("a-70000.png"))
	for path, want := range map[string][]int{ // the status of each request; 0 is an error on the way
		"/ok/": {200, 200}, "/chunked/": {200}, "/slow/": {200}, "/less/": {200, 200}, "/more/": {0}, "/garbage/": {0},
		"/cut,1/": {0, 200}, "/status,404/": {404}, "/flaky,503,1/": {503, 200}, "/expires/": {0, 403},
	} {
		for i, want := range want {
			status, body, err := get(path + "a-70000.png")
			if (err != nil) != (want == 0) || err == nil && status != want {
				t.Errorf("%s, request %d: %d, %v; %d was expected", path, i, status, err, want)
			}
			if want == 200 && !bytes.Equal(body, whole) {
				t.Errorf("%s has other content", path)
			}
		}
	}
	if sizeOf("a-70000.png") != int64(len(whole)) || http.DetectContentType(whole) != "image/png" {
		t.Error("the content is not what its name says")
	}
}
