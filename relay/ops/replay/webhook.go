package replay

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/schema"
)

// webhook makes of what the quarantine keeps the delivery that it was: the body to
// the byte, and the callback attributes in the URL. A body that is still none would
// only be quarantined once more, and is skipped.
func webhook(e schema.Event) (outgoing, error) {
	if e.Type != schema.TypeWebhookRejected && e.Type != schema.TypeWebhookConflict {
		return outgoing{}, fmt.Errorf("an event of type %q keeps no webhook", e.Type)
	}
	if _, err := schema.ParseWebhook(e.Data); err != nil {
		return outgoing{}, fmt.Errorf("this version refuses it, too: %w", err)
	}
	query := maps.Clone(e.Extensions)
	delete(query, "reason")
	delete(query, "detail")
	return outgoing{header: map[string][]string{"Content-Type": {"application/json"}}, body: e.Data, query: query}, nil
}

// receipt adds what the answer to a delivery tells. Other receivers than the relay
// may answer anything, which then tells nothing.
func (r result) receipt(a httpclient.Result) result {
	var told struct {
		Duplicate bool `json:"duplicate"`
		Conflict  bool `json:"conflict"`
	}
	r.outcome, r.reason = Delivered, ""
	if json.Unmarshal(a.Body, &told) == nil {
		r.duplicate, r.conflict = told.Duplicate, told.Conflict
	}
	return r
}

// IsWebhookPath reports whether a URL's path is that of a relay's webhook endpoint,
// with or without a token. The path / takes a segment for a token only if it is one.
func IsWebhookPath(path, webhookPath string, tokens []string) bool {
	for strings.Contains(path, "//") { // which a relay takes for one
		path = strings.ReplaceAll(path, "//", "/")
	}
	path = strings.TrimSuffix(path, "/")
	rest, ok := strings.CutPrefix(path, strings.TrimRight(webhookPath, "/"))
	if !ok || rest == "" {
		return ok
	}
	token, ok := strings.CutPrefix(rest, "/")
	return ok && (slices.Contains(tokens, token) || webhookPath != "/" && !strings.Contains(token, "/"))
}
