package relay

import (
	"context"
	"log/slog"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/reload"
	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
	"github.com/apixo-relay/apixo-relay/relay/tokens"
)

// fileWatchers implements service.Service.
type fileWatchers struct {
	service.Background
	configs []reload.Config
	asked   []chan struct{} // each has one of them applied again
	log     *slog.Logger
}

func (w *fileWatchers) add(name string, files []string, apply func() error) {
	asked := make(chan struct{}, 1)
	w.asked = append(w.asked, asked)
	w.configs = append(w.configs, reload.Config{Name: name, Files: files, Apply: apply, Reload: asked})
}

// Start implements service.Service.
func (w *fileWatchers) Start(context.Context) error {
	for _, c := range w.configs {
		w.Go(func(ctx context.Context) { reload.Watch(ctx, c, w.log) })
	}
	return nil
}

// reload has all files applied again, and does not wait for that.
func (w *fileWatchers) reload() {
	for _, asked := range w.asked {
		select {
		case asked <- struct{}{}:
		default: // it is about to be
		}
	}
}

// watchFiles has changes of secrets and certificates taken up, and returns the
// tokens: nil if nobody is asked for one.
func (r *Relay) watchFiles(tlsFiles *tlsfiles.Files) *tokens.Set {
	r.files.log = r.log
	watch := r.files.add
	if tlsFiles != nil {
		watch("TLS certificate", tlsFiles.Names(), tlsFiles.Reload)
	}
	if certificate := r.broker.Certificate(); certificate != nil {
		watch("TLS certificate of the embedded broker", certificate.Names(), certificate.Reload)
	}
	cfg := r.cfg.Webhooks
	if len(cfg.Tokens) == 0 {
		return nil
	}
	set := tokens.New(cfg.Tokens)
	if file := cfg.TokensFile; file != "" {
		watch("RELAY_WEBHOOK_TOKENS_FILE", []string{file}, func() error {
			text, err := config.ReadSecretFile(file)
			if err != nil {
				return err
			}
			var next config.Tokens
			if err := next.UnmarshalText([]byte(text)); err != nil {
				return err
			}
			set.Replace(next)
			return nil
		})
	}
	return set
}
