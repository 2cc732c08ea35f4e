package upgrade

import (
	"os"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// built are the programs, if a test has needed them.
var built *rig.Programs

func TestMain(m *testing.M) {
	code := leaktest.Run(m)
	if built != nil {
		_ = built.Remove() // what is left there harms nobody
	}
	os.Exit(code)
}
