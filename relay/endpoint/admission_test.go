package endpoint

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// soon is when at the latest something has to have happened.
const soon = 2 * time.Minute

// hosting is a server in plain HTTP whose handler tells of each request, by its path.
// Those to /good are let in; what is asked for under /stay is answered when the test ends.
func hosting(t *testing.T) (addr string, came chan string, of *listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came, end := make(chan string, 1000), make(chan struct{})
	server := &http.Server{Protocols: new(http.Protocols), MaxHeaderBytes: 16 << 10, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/good") {
			Accept(r.Context())
		}
		came <- r.URL.Path
		if strings.HasSuffix(r.URL.Path, "/stay") {
			<-end
		}
		_, _ = io.WriteString(w, "hello")
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	s := New(Settings{HTTP: server, Listener: l, MaxConns: func() int { return 1000 }, Timeout: time.Second, OnShutdown: func() {}})
	ended := make(chan error)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		close(end)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return l.Addr().String(), came, s.listener
}

// request is one in HTTP/2 for a path, on a connection of its own, the first stream.
func request(path string) string {
	block := "\x83\x86\x04" + string(rune(len(path))) + path // POST, http, and the path
	return preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00" + string(rune(len(block))) + "\x01\x05\x00\x00\x00\x01" + block
}

// bring connects and writes a text, and tells when the server has closed the connection.
func bring(t *testing.T, addr, text string) (conn net.Conn, closed <-chan struct{}) {
	t.Helper()
	conn = dial(t, addr)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	if strings.HasPrefix(text, preface) {
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			close(ended)
		}()
	}
	return conn, ended
}

func await[T any](t *testing.T, from <-chan T, what string) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(soon):
		t.Fatalf("waited in vain for %s", what)
	}
	return got
}

// However many connections have requests that are not let in and do not end, others
// have their turn, and those that are let in stay.
func TestStrangersTakeTurns(t *testing.T) {
	t.Parallel()
	addr, came, _ := hosting(t)
	var good []<-chan struct{}
	for range 2 * maxUnadmitted {
		_, closed := bring(t, addr, request("/good/stay"))
		good = append(good, closed)
		await(t, came, "a good request")
	}
	var strange []<-chan struct{}
	for range maxUnadmitted {
		_, closed := bring(t, addr, request("/stay"))
		strange = append(strange, closed)
		await(t, came, "a stranger")
	}
	_, newest := bring(t, addr, request("/good/stay"))
	if path := await(t, came, "a good request behind strangers"); path != "/good/stay" {
		t.Errorf("%s came", path)
	}
	gone := make(chan struct{}, len(strange))
	for _, closed := range strange {
		go func() { <-closed; gone <- struct{}{} }()
	}
	await(t, gone, "a stranger to make way")
	for range maxUnadmitted { // more than there can be
		bring(t, addr, request("/stay"))
		await(t, came, "one more stranger")
	}
	for _, closed := range append(good, newest) {
		select {
		case <-closed:
			t.Fatal("a connection was closed whose request had been let in")
		default:
		}
	}
}

// While nobody else waits, a stranger may stay.
func TestStrangersMayStay(t *testing.T) {
	t.Parallel()
	addr, came, _ := hosting(t)
	var strange []<-chan struct{}
	for range maxUnadmitted {
		_, closed := bring(t, addr, request("/stay"))
		strange = append(strange, closed)
		await(t, came, "a stranger")
	}
	<-time.After(2 * admissionTicks * admissionTick) // in which nothing is to happen
	for _, closed := range strange {
		select {
		case <-closed:
			t.Fatal("a connection was closed, and nobody waited")
		default:
		}
	}
}

// Of long heads that do not come to their end only so many are waited for, those that
// began last.
func TestLongHeads(t *testing.T) {
	t.Parallel()
	addr, came, l := hosting(t)
	head := "GET /good HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 2*longHead)
	var conns []net.Conn
	for range maxHeads {
		conn, _ := bring(t, addr, head)
		conns = append(conns, conn)
	}
	waitedFor := func() int {
		l.heads.mu.Lock()
		defer l.heads.mu.Unlock()
		return len(l.heads.waits)
	}
	if err := wait(t.Context(), func() bool { return waitedFor() == maxHeads }); err != nil {
		t.Fatal(err)
	}
	gone := make(chan int, maxHeads)
	for i, conn := range conns {
		go func() {
			if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
				gone <- i
			}
		}()
	}
	for range maxHeads / 2 {
		bring(t, addr, head)
	}
	left := make(map[int]bool)
	for i := range maxHeads {
		left[i] = true
	}
	for range maxHeads / 2 {
		delete(left, await(t, gone, "a head to make way"))
	}
	// Those that are left go on.
	for i := range left {
		if _, err := io.WriteString(conns[i], "\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		await(t, came, "the request behind a long head")
	}
	if n := len(gone); n > 0 {
		t.Errorf("%d more were closed", n)
	}
	// One that comes in one piece needs no place.
	conn, _ := bring(t, addr, head+"\r\n\r\n")
	answered(t, conn, http.StatusOK)
}
