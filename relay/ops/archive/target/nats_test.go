package target_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target/targettest"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// chunk is how much of a file is in one message.
const chunk = 512 << 10

func TestObjectStore(t *testing.T) {
	t.Parallel()
	targettest.Run(t, func(t *testing.T) targettest.Stand {
		js := natstest.JetStream(t, natstest.Start(t, natstest.Options(t)).ClientURL())
		return targettest.Stand{
			Name: "nats:FILES", Options: target.Options{JetStream: js}, Part: chunk,
			Leftovers: func(t *testing.T) int { return countOrphans(t, js, "FILES") },
		}
	})
}

// countOrphans counts the files whose chunks are there and which no object refers to, as the
// library lists objects.
func countOrphans(t *testing.T, js jetstream.JetStream, bucket string) int {
	t.Helper()
	stream, err := js.Stream(t.Context(), "OBJ_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("$O."+bucket+".C.>"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := js.ObjectStore(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := store.List(t.Context())
	if err != nil && !strings.Contains(err.Error(), "no objects") {
		t.Fatal(err)
	}
	orphans := info.State.Subjects
	for _, o := range objects {
		delete(orphans, "$O."+bucket+".C."+o.NUID)
	}
	return len(orphans)
}
