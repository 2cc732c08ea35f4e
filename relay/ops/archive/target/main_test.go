package target_test

import (
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }
