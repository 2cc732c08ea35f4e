package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// page is a running operator's page.
type page struct{ url string }

// page starts the operator's page as a user. It has to stop at a SIGTERM, and in order.
func (b *bench) page(t *testing.T, ctx context.Context, user string, environ []string, args ...string) (page, error) {
	t.Helper()
	cmd := exec.Command(b.relay, append([]string{"ui"}, args...)...)
	cmd.Env = relaytest.Environ(b.environ(user, append(environ, "RELAY_UI_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=off", "RELAY_SHUTDOWN_TIMEOUT=5s")...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return page{}, err
	}
	if err := cmd.Start(); err != nil {
		return page{}, err
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the page: %v", err)
		}
		if t.Failed() {
			t.Logf("the page's log:\n%s", said.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	return page{strings.TrimSuffix(strings.TrimSpace(line), "/")}, err
}

// get asks for a view.
func (p page) get(ctx context.Context, path string) (status int, body string, err error) {
	status, body, err = get(ctx, p.url+path)
	return status, html.UnescapeString(body), err
}

// shows waits until a view has all these texts in it.
func (p page) shows(ctx context.Context, path string, texts ...string) error {
	for {
		status, body, err := p.get(ctx, path)
		lacks := ""
		for _, text := range texts {
			if !strings.Contains(body, text) {
				lacks = text
			}
		}
		if err == nil && status == http.StatusOK && lacks == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, fmt.Errorf("%s: %d; it lacks %q:\n%s", path, status, lacks, body))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// submit sends a form, whose fields are written behind its path, and returns what the page
// answers in the end.
func (p page) submit(ctx context.Context, form string) (status int, body string, err error) {
	path, fields, _ := strings.Cut(form, "?")
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+path, strings.NewReader(fields))
	if err != nil {
		return 0, "", err
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Close = true
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	said, err := io.ReadAll(r.Body)
	return r.StatusCode, html.UnescapeString(string(said)), err
}

// does sends a form, which has to be taken.
func (p page) does(ctx context.Context, form string) error {
	status, body, err := p.submit(ctx, form)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s got %d:\n%s", form, status, body)
	}
	return err
}
