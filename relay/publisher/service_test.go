package publisher_test

import (
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/service/servicetest"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestService(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	servicetest.Stress(t, func(t *testing.T) service.Service { return open(t, s).Publisher })
}
