package interop

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Events say whether APIXO confirms their webhooks, in the words that the documents have;
// and what it contradicts is quarantined as they say, where only what it confirms is taken.
func TestWhatIsVerified(t *testing.T) {
	t.Parallel()
	const key = "key-of-the-status-api"
	fake := fakeapi.New(key)
	fake.Set("false", fakeapi.Error(http.StatusNotFound, "Task not found"))
	fake.Set("unknown", fakeapi.Error(http.StatusServiceUnavailable, "Try again"))
	api := httptest.NewServer(fake)
	t.Cleanup(api.Close)
	settings := []string{"RELAY_VERIFY_TIMEOUT=1s", "APIXO_API_KEY=" + key, "APIXO_BASE_URL=" + api.URL}
	verdicts := []string{"true", "false", "unknown"} // also the ids of the tasks
	posted := func(id string, status int) webhook {
		return webhook{name: id, model: models[0], body: []byte(fakeapi.Result(id)), status: status}
	}
	program := relaytest.Build(t, "./cmd/apixo-relay")
	for _, mode := range []string{"structured", "binary"} {
		t.Run(mode+", flag", func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
			defer cancel()
			r := startRelay(t, program, mode, append(settings, "RELAY_VERIFY=flag")...)
			for _, verdict := range verdicts {
				r.post(ctx, t, posted(verdict, http.StatusOK))
			}
			for i, msg := range readAll(ctx, t, r.Broker, schema.DefaultStream, "apixo.task.success", len(verdicts)) {
				checkMessage(t, mode, "event", msg)
				if event := decodeEvent(t, msg); event.ID != verdicts[i] || event.Verified() != verdicts[i] {
					t.Errorf("the event %d is %+v", i, event)
				}
			}
		})
		t.Run(mode+", enforce", func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
			defer cancel()
			r := startRelay(t, program, mode, append(settings, "RELAY_VERIFY=enforce")...)
			for i, status := range []int{http.StatusOK, http.StatusUnprocessableEntity, http.StatusServiceUnavailable} {
				r.post(ctx, t, posted(verdicts[i], status))
			}
			for _, part := range []struct{ stream, subject, schema string }{
				{schema.DefaultStream, "apixo.task.success", "event"}, {schema.DefaultQuarantine, "apixo.quarantine.rejected", "quarantine"},
			} {
				msg := readAll(ctx, t, r.Broker, part.stream, part.subject, 1)[0]
				checkMessage(t, mode, part.schema, msg)
				event := decodeEvent(t, msg)
				if event.IsTask() && event.Verified() != "true" || !event.IsTask() && (event.Reason() != schema.ReasonNotConfirmed || !strings.Contains(string(event.Data), `"false"`)) {
					t.Errorf("%s has %+v", part.subject, event)
				}
			}
		})
	}
}
