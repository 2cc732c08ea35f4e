package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Addr is the host and port of the callback URL.
func (s *Sender) Addr() string {
	u, err := url.Parse(s.url)
	if err != nil {
		return ""
	}
	return u.Host
}

// Raw writes a text on a connection of its own, as it is, and then says that no
// more comes. It returns what is answered, answer by answer, up to the end of the
// connection; of one that is no JSON, only the status. The method of the last
// request tells where the end of an answer is.
func (s *Sender) Raw(ctx context.Context, text, method string) ([]Answer, error) {
	start := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return nil, fmt.Errorf("no connection: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(start.Add(senderTimeout)); err != nil {
		return nil, err
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		// Whoever is refused before the end of the text cannot write the rest of it:
		// what was answered is what counts.
		if _, err := io.WriteString(conn, text); err == nil {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	}()
	defer func() {
		_ = conn.Close()
		<-written
	}()
	var answers []Answer
	from := bufio.NewReader(conn)
	for {
		// One that ends before all was read is reset behind its last answer.
		if _, err := from.Peek(1); errors.Is(err, io.EOF) || err != nil && len(answers) > 0 {
			return answers, nil
		}
		a, _, err := readAnswer(from, method)
		if err != nil {
			return answers, fmt.Errorf("no answer %d: %w", len(answers)+1, err)
		}
		a.Took = time.Since(start)
		answers = append(answers, a)
	}
}

// readAnswer reads one answer, and reports whether it is the last one of its
// connection.
func readAnswer(from *bufio.Reader, method string) (a Answer, last bool, err error) {
	resp, err := http.ReadResponse(from, &http.Request{Method: method})
	if err != nil {
		return a, true, err
	}
	body, err := io.ReadAll(resp.Body)
	if strings.Contains(resp.Header.Get("Content-Type"), "json") && method != http.MethodHead {
		if err := errors.Join(err, json.Unmarshal(body, &a)); err != nil {
			return a, true, fmt.Errorf("%s cannot be read: %w", resp.Status, err)
		}
	} // and the library's plain text may be reset in its middle, since it reads no bodies
	a.Status = resp.StatusCode // the problem document has one too
	return a, resp.Close, nil
}

// Conn is a connection that is kept while the relay keeps it.
type Conn struct {
	addr  string
	conn  net.Conn
	from  *bufio.Reader
	to    *bufio.Writer
	start time.Time // of what was sent last
}

// NewConn is a connection to the callback URL, made when it is needed.
func (s *Sender) NewConn() *Conn { return &Conn{addr: s.Addr()} }

// Close ends the connection.
func (c *Conn) Close() error {
	if c.conn == nil {
		return nil
	}
	conn := c.conn
	c.conn = nil
	return conn.Close()
}

// Exchange writes a whole request as it is, and reads its answer.
func (c *Conn) Exchange(ctx context.Context, text, method string) (Answer, error) {
	if err := c.Send(ctx, text); err != nil {
		return Answer{}, err
	}
	return c.Answer(method)
}

// Send writes texts as they are, one behind the other. They are not copied as a whole:
// many may be large, and the same.
func (c *Conn) Send(ctx context.Context, texts ...string) error {
	if c.conn == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.addr)
		if err != nil {
			return fmt.Errorf("no connection: %w", err)
		}
		c.conn, c.from, c.to = conn, bufio.NewReader(conn), bufio.NewWriter(conn)
	}
	c.start = time.Now()
	if err := c.conn.SetDeadline(c.start.Add(senderTimeout)); err != nil {
		return err
	}
	for _, text := range texts {
		_, _ = c.to.WriteString(text) // an error of which Flush tells again
	}
	if err := c.to.Flush(); err != nil {
		return fmt.Errorf("cut off: %w", err)
	}
	return nil
}

// Answer reads the answer to a request with that method.
func (c *Conn) Answer(method string) (Answer, error) {
	if c.conn == nil {
		return Answer{}, errors.New("no answer: there is no connection")
	}
	a, last, err := readAnswer(c.from, method)
	a.Took = time.Since(c.start)
	if last {
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		return a, fmt.Errorf("no answer: %w", err)
	}
	return a, nil
}
