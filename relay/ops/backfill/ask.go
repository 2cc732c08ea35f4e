package backfill

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/retry"
)

// notAsked is the verdict on a task that the run did not come to.
const notAsked resultKind = -1

// ask asks for a task until there is a verdict, within the rate and while the API
// does not ask for a pause. When ctx ends, what is in flight is finished and
// nothing more is begun.
//
// A verdict of kind again is the last one: there is no attempt left.
func (r *run) ask(ctx context.Context, t *task) (httpclient.Result, apiResult) {
	target := r.cfg.API.BaseURL + "/api/v1/statusTask/" + url.PathEscape(t.model) + "?taskId=" + url.QueryEscape(t.id)
	v := apiResult{kind: notAsked}
	pauses := r.o.backoff()
	for attempt := 1; ; attempt++ {
		if r.limiter.Wait(ctx) != nil || r.gate.Wait(ctx) != nil {
			if attempt > 1 {
				v.detail = "stopped before it was asked for again: " + v.detail
			}
			return httpclient.Result{}, v
		}
		r.requests.Add(1)
		a := r.client.Do(context.WithoutCancel(ctx), http.MethodGet, target, r.header, nil)
		if v = classify(t.id, a, r.client.Redact); v.kind != again {
			return a, v
		}
		if attempt == r.o.Attempts {
			if attempt > 1 {
				v.detail += fmt.Sprintf(" (%d times)", attempt)
			}
			return a, v
		}
		r.pause(ctx, a, pauses.NextBackOff())
	}
}

// pause waits before another attempt, or has all requests wait if the API asks for
// that, for as long as it says. It ends early with ctx, which the caller sees.
func (r *run) pause(ctx context.Context, a httpclient.Result, wait time.Duration) {
	asked := a.RetryAfter(time.Now())
	if asked == 0 && a.Status != http.StatusTooManyRequests {
		_ = retry.Sleep(ctx, wait)
		return
	}
	if asked > 0 {
		wait = asked
	}
	r.gate.Close(wait)
	if r.o.OnWait != nil {
		r.o.OnWait(wait)
	}
}
