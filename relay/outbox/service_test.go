package outbox_test

import (
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/service/servicetest"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestService(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	natstest.Start(t, options)
	servicetest.Stress(t, func(t *testing.T) service.Service { return prepare(t, options, t.TempDir()).Outbox })
}
