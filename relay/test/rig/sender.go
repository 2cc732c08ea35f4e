package rig

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// senderTimeout is how long APIXO waits for an answer.
const senderTimeout = 30 * time.Second

// Sender posts webhooks as APIXO does, each over a real connection.
type Sender struct {
	url    string
	client *http.Client
	tls    *tls.Config         // for HTTP/1.1; nil without TLS
	vary   func(*http.Request) // nil, or what changes each request
}

// NewSender makes a sender to a callback URL, whose connections end with the rig.
// With TLS it speaks HTTP/2, and whose certificate it meets does not matter.
func (r *Rig) NewSender(url string) *Sender {
	transport := &http.Transport{}
	if strings.HasPrefix(url, "https:") {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		transport.ForceAttemptHTTP2 = true
	}
	return r.NewSenderOver(url, transport)
}

// NewSenderOver is [Rig.NewSender] with a transport of its own, for TLS or from
// another address.
func (r *Rig) NewSenderOver(url string, transport *http.Transport) *Sender {
	transport.MaxIdleConnsPerHost = 1024
	s := &Sender{url: url, client: &http.Client{Transport: transport, Timeout: senderTimeout}}
	if strings.HasPrefix(url, "https:") {
		s.tls = &tls.Config{InsecureSkipVerify: true}
	}
	r.onClose(closer(func() error { transport.CloseIdleConnections(); return nil }))
	return s
}

// Vary is a sender that changes each request before it is sent, its target or
// its headers, over the same connections. The function is called by all workers
// of a load at the same time.
func (s *Sender) Vary(change func(*http.Request)) *Sender {
	return &Sender{url: s.url, client: s.client, tls: s.tls, vary: change}
}

// URL is the callback URL.
func (s *Sender) URL() string { return s.url }

type closer func() error

func (c closer) Close() error { return c() }

// Answer is what a webhook was answered with.
type Answer struct {
	Status int
	Took   time.Duration

	// Of a 200.
	TaskID    string
	Stream    string
	Sequence  uint64
	Duplicate bool
	Conflict  bool
	// Of any other.
	Type, Code, Detail string
	Quarantined        Place
}

// Place is where something is kept.
type Place struct {
	Stream   string
	Sequence uint64
}

// Problem is the name of the problem that was answered, such as "stream-full".
func (a Answer) Problem() string {
	_, name, _ := strings.Cut(a.Type, "#")
	return name
}

// Post sends a webhook and waits for its answer. An error means that there was
// none.
func (s *Sender) Post(ctx context.Context, taskID, state string) (Answer, error) {
	return s.PostBody(ctx, Webhook(taskID, state, 0))
}

// PostBody is [Sender.Post] for a body of one's own.
func (s *Sender) PostBody(ctx context.Context, body string) (a Answer, err error) {
	start := time.Now()
	defer func() { a.Took = time.Since(start) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.vary != nil {
		s.vary(req)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return a, fmt.Errorf("no answer: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(answer, &a)
	}
	if err != nil {
		return a, fmt.Errorf("the answer %s cannot be read: %w: %.200q", resp.Status, err, answer)
	}
	a.Status = resp.StatusCode
	return a, nil
}

// NoAnswer says in a word what became of the connection of a webhook without an
// answer: "refused" is one that was never made; "reset" one that the other end
// cut off; "closed" one that it ended in order, but before the answer; "timeout"
// one on which nothing came. Anything else is the error's text.
func NoAnswer(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	// This end closes a connection too, after the other, while it still writes.
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "server closed idle connection"):
		return "closed"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	default:
		return err.Error()
	}
}

// nonce is what a task's webhook says besides, so that an audit sees whether what
// is stored is what was sent.
func nonce(taskID string) string {
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(taskID)))
}

// Webhook is the body of a task's webhook. The padding is that many bytes in a
// member of its own.
func Webhook(taskID, state string, padding int) string {
	result := `"resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/output/a.jpg\"]}"`
	if state != "success" {
		result = `"failCode":"INVALID_INPUT","failMsg":"no"`
	}
	return fmt.Sprintf(`{"code":200,"message":"success","data":{"taskId":%q,"state":%q,%s,"padding":%q,"nonce":%q}}`,
		taskID, state, result, strings.Repeat("x", padding), nonce(taskID))
}

// LargeWebhook is a webhook of so many bytes of which the event is as large as it
// can be, since its result stands in that twice. It comes in parts, of which the large
// one is cut from a filler of that size at least: one serves any number of webhooks.
func LargeWebhook(taskID string, size int, filler string) (parts [3]string) {
	const mark = "output/a"
	small := Webhook(taskID, "success", 0)
	before, after, _ := strings.Cut(small, mark)
	return [3]string{before + mark, filler[:size-len(small)], after}
}
