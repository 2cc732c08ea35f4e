package send

import (
	"context"
	"net/http"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
)

const (
	// userAgent names the sender in the receiver's logs.
	userAgent = "apixo-relay-send"

	// maxAnswerBytes is how much of an answer is looked at. What the relay
	// answers is far smaller.
	maxAnswerBytes = 64 << 10
)

var webhookHeader = http.Header{"Content-Type": {"application/json"}}

// post delivers a body once.
func (s *sender) post(ctx context.Context, body []byte) httpclient.Result {
	return s.client.Do(ctx, http.MethodPost, s.options.URL.String(), webhookHeader, body)
}
