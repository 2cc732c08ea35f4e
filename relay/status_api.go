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
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// apiConnections is how many connections to the status API are kept: as many as requests are
// under way at once when both uses of it are busy.
const apiConnections = 48

// usesAPI reports whether the relay asks the status API for anything.
func usesAPI(cfg config.Config) bool {
	return cfg.Expect.Enabled || cfg.Verify.Mode != config.VerifyOff
}

// openAPI makes the client of the status API that reconciler and verifier share; none if
// there is neither.
func (r *Relay) openAPI(version string, metrics *telemetry.Metrics) (err error) {
	if !usesAPI(r.cfg) {
		return nil
	}
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
