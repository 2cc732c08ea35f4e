package receiver_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// logBuffer keeps what is logged, at every level. A webhook's line is written
// after its answer, so that tests have to wait for it. Only lines in JSON are
// told apart.
type logBuffer struct {
	format telemetry.Format

	mu       sync.Mutex
	all      bytes.Buffer
	webhooks []map[string]any
	grown    chan struct{} // closed when webhooks grows; nil while nobody waits
}

// newLogBuffer makes one for the format that the settings name, or else for JSON.
func newLogBuffer(cfg config.Config) *logBuffer {
	if cfg.Log.Format == config.LogText {
		return &logBuffer{format: telemetry.Text}
	}
	return &logBuffer{format: telemetry.JSON}
}

func (b *logBuffer) logger() *slog.Logger {
	return telemetry.NewLogger(b, b.format, slog.LevelDebug)
}

// Write takes one line: a handler of log/slog calls it once for each record.
func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all.Write(line)
	var decoded map[string]any
	if err := json.Unmarshal(line, &decoded); err == nil && decoded["msg"] == "webhook" {
		b.webhooks = append(b.webhooks, decoded)
		if b.grown != nil {
			close(b.grown)
			b.grown = nil
		}
	}
	return len(line), nil
}

// webhook waits for the nth line about a webhook, counted from 1.
func (b *logBuffer) webhook(t *testing.T, n int) map[string]any {
	t.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		if len(b.webhooks) >= n {
			defer b.mu.Unlock()
			return b.webhooks[n-1]
		}
		if b.grown == nil {
			b.grown = make(chan struct{})
		}
		grown := b.grown
		b.mu.Unlock()
		select {
		case <-grown:
		case <-deadline:
			t.Fatalf("line %d about a webhook did not come; the log is\n%s", n, b.text())
		}
	}
}

// count is how many lines about webhooks there are. It is final once the server is closed.
func (b *logBuffer) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.webhooks)
}

func (b *logBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// wantNoToken fails the test if a text holds a token in any of the spellings
// that it can have on its way.
func wantNoToken(t *testing.T, where, text string, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		quoted, err := json.Marshal(token)
		if err != nil {
			t.Fatal(err)
		}
		for _, spelling := range []string{
			token, url.PathEscape(token), url.QueryEscape(token), strings.ToLower(url.QueryEscape(token)), strings.Trim(string(quoted), `"`),
		} {
			if strings.Contains(text, spelling) {
				t.Errorf("the token %q is in %s, as %q:\n%s", token, where, spelling, text)
				break
			}
		}
	}
}
