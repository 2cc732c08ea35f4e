package relay

import (
	"context"
	"net/http"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/expected"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/receiver"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/verify"
)

// apiConnections is how many connections to the status API are kept: as many as requests are
// under way at once when both uses of it are busy.
const apiConnections = 48

// useAPI has the receiver take announcements and hold webhooks against the status API, as far
// as the settings ask for that.
func (r *Relay) useAPI(ctx context.Context, version string, metrics *telemetry.Metrics, o *receiver.Options) error {
	expects, verifies := r.cfg.Expect.Enabled, r.cfg.Verify.Mode != config.VerifyOff
	if expects || verifies {
		if err := r.openAPI(version, metrics); err != nil {
			return err
		}
	}
	if verifies {
		o.Verifier, o.Enforce = verify.New(r.api, r.cfg.Verify.Timeout, metrics), r.cfg.Verify.Mode == config.VerifyEnforce
		r.addCleanup("verifier", func(context.Context) error {
			o.Verifier.Close()
			return nil
		})
	}
	if !expects {
		metrics.Expected(func() (tasks, overdue int) { return 0, 0 })
		return nil
	}
	r.expected = r.newReconciler(metrics)
	r.broker.Observe(r.expected)
	o.Store, o.Announcer, o.ExpectPath = settlingStore{o.Store, r.expected}, r.expected, r.cfg.Expect.Path
	return r.start(ctx, "reconciler of announced tasks", r.expected)
}

// openAPI makes the client of the status API that reconciler and verifier share.
func (r *Relay) openAPI(version string, metrics *telemetry.Metrics) (err error) {
	transport := httpclient.NewTransport(apiConnections, nil, http.ProxyFromEnvironment)
	r.addCleanup("connections to the status API", func(context.Context) error {
		transport.CloseIdleConnections()
		return nil
	})
	r.api, err = apixo.New(apixo.Options{
		API: r.cfg.API, Agent: "apixo-relay/" + version, Transport: transport, Timeout: expected.AskTimeout, MaxAnswer: r.cfg.Webhooks.MaxBodyBytes,
		OnAnswer: func(kind apixo.Kind, took time.Duration) { metrics.APIRequest(apiResult(kind), took) },
		OnTrouble: func(trouble error) {
			if trouble == nil {
				r.log.Info("the status API answers again")
				return
			}
			r.log.Error("the status API cannot be used", "error", trouble)
		},
	})
	return err
}

func apiResult(kind apixo.Kind) telemetry.APIResult {
	switch kind {
	case apixo.Denied:
		return telemetry.APIDenied
	case apixo.Retry, apixo.Unusable:
		return telemetry.APIUnusable
	}
	return telemetry.APIAnswered
}

// newReconciler makes what looks after announced tasks.
func (r *Relay) newReconciler(metrics *telemetry.Metrics) *expected.Reconciler {
	results := store.Store(r.publisher)
	if r.cfg.UsesEmbedded() {
		results = r.watchdog // a receipt is to mean as much as that of a webhook
	}
	return expected.New(expected.Options{
		Config: r.cfg, Client: r.api, Encoder: event.NewEncoder(r.cfg), Store: results, CheckDiskSpace: r.broker.CheckDiskSpace, Metrics: metrics, Log: r.log,
	})
}

// settlingStore implements store.Store: whatever task's event is stored need not be asked for.
type settlingStore struct {
	next       store.Store
	reconciler *expected.Reconciler
}

// Store implements store.Store.
func (s settlingStore) Store(ctx context.Context, msg event.Message) (store.Receipt, error) {
	receipt, err := s.next.Store(ctx, msg)
	if err == nil && msg.Kind == event.TaskEvent {
		s.reconciler.Settled(msg.ID)
	}
	return receipt, err
}
