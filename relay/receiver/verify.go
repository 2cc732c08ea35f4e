package receiver

import (
	"context"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/verify"
	"github.com/apixo-relay/apixo-relay/schema"
)

// verifyDelivery holds a delivery against the status API, and returns it with what came of
// that: as an attribute, or with RELAY_VERIFY=enforce as a reason to quarantine it. Its error
// is a [*problem].
func (rc *Receiver) verifyDelivery(ctx context.Context, d event.Delivery, res *result) (event.Delivery, error) {
	if d.Rejection != nil {
		return d, nil
	}
	v, isTask := rc.verifier.Verify(ctx, d)
	if !isTask {
		return d, nil
	}
	res.verified = v.Verdict
	switch {
	case !rc.enforce, v.Verdict == verify.Confirmed:
		return d.WithVerified(string(v.Verdict)), nil
	case v.Verdict == verify.Contradicted:
		d.Rejection = &schema.Error{Kind: event.ErrNotConfirmed, Code: schema.ReasonNotConfirmed, Detail: v.Detail}
		return d, nil
	}
	return d, notVerified.with("%s; nothing was promised about this webhook, and a later delivery of it is safe", v.Detail)
}
