package compose_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// browser is one on the machine with the containers, which asks for the page at its published
// port.
type browser struct {
	t      *testing.T
	client *http.Client
}

// ask sends a request to the page, a form if it has fields.
func (b browser) ask(ctx context.Context, host, path string, fields url.Values, header ...string) (status int, body string) {
	b.t.Helper()
	method := http.MethodGet
	if fields != nil {
		method = http.MethodPost
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://ui:8722"+path, strings.NewReader(fields.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	q.Host = host
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	r, err := b.client.Do(q)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	said, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r.StatusCode, string(said)
}

// looked signs in to the operator's page, finds what came, and sends a conflict again.
func looked(t *testing.T, ctx context.Context, client *http.Client, webhookToken, token string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	own := *client
	own.Jar, own.CheckRedirect = jar, func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b := browser{t, &own}
	const published = "127.0.0.1:8722"
	if status, _ := b.ask(ctx, published, "/", nil); status != http.StatusSeeOther {
		t.Errorf("without a token: %d", status)
	}
	if status, _ := b.ask(ctx, "ui:8722", "/sign-in", nil); status != http.StatusMisdirectedRequest {
		t.Errorf("under the name of the container: %d", status)
	}
	if status, _ := b.ask(ctx, published, "/", nil, "Authorization", "Bearer "+webhookToken); status != http.StatusUnauthorized {
		t.Errorf("with a webhook's token: %d", status)
	}
	if status, body := b.ask(ctx, published, "/sign-in", url.Values{"token": {token}}); status != http.StatusSeeOther {
		t.Fatalf("signing in: %d %s", status, body)
	}

	conflict := strings.Replace(webhook, `"success"`, `"failed"`, 1)
	r, err := client.Post("http://relay:8720/webhook/apixo/"+webhookToken, "application/json", strings.NewReader(conflict))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if status, body := b.ask(ctx, published, "/quarantine/send", url.Values{"seq": {"1"}}); status != http.StatusSeeOther {
		t.Errorf("sending it again: %d %s", status, body)
	}
	for _, view := range []struct{ path, text string }{
		{"/", "Readiness: the relay at relay:8721 is ready"}, {"/tasks/task_of_compose", "apixo.task.success"},
		{"/quarantine", "conflict"}, {"/replay", "delivered   1"}, {"/checks", `data-status="ok"`},
	} {
		for {
			status, body := b.ask(ctx, published, view.path, nil)
			if view.path == "/checks" && strings.Contains(body, `data-status="fail"`) {
				t.Errorf("a check fails:\n%s", body)
			}
			if status == http.StatusOK && strings.Contains(body, view.text) {
				break
			}
			pause(t, ctx, view.path+" lacks "+view.text+":\n"+body)
		}
	}
}
