package publisher_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// harmless are the fields that no rule looks at, and why.
var harmless = map[string]string{
	"Name":               "it is how the stream was found",
	"Description":        "it is for people",
	"Metadata":           "it is for people and their tools",
	"Template":           "no server that is kept knows it",
	"MaxConsumers":       "consumers that cannot be made lose nothing that is stored",
	"ConsumerLimits":     "they bind consumers, not what is stored",
	"Placement":          "every server stores what it acknowledges",
	"DenyDelete":         "it takes the means of deleting away",
	"DenyPurge":          "it takes the means of deleting away",
	"Compression":        "it is lossless",
	"FirstSeq":           "sequences are the broker's word, wherever they begin",
	"RePublish":          "a copy is sent elsewhere once the message is stored; the acknowledgement is the stream's",
	"AllowDirect":        "the relay asks the leader for a stored event",
	"MirrorDirect":       "it is a mirror's, and mirrors are refused",
	"AllowMsgTTL":        "the relay's messages ask for none",
	"AllowMsgSchedules":  "the relay's messages ask for none; what it brings with it is judged (AllowRollup, Discard)",
	"AllowAtomicPublish": "the relay publishes no batches",
	"AllowBatchPublish":  "the relay publishes no batches",
}

// A field of a later version of the client is to be thought about.
func TestEveryFieldIsJudged(t *testing.T) {
	t.Parallel()
	judged := publisher.JudgedFields()
	known := make(map[string]bool)
	for field := range reflect.TypeFor[jetstream.StreamConfig]().Fields() {
		known[field.Name] = true
		if why := harmless[field.Name]; judged[field.Name] == (why != "") {
			t.Errorf("%s is judged: %v; and harmless: %q", field.Name, judged[field.Name], why)
		}
	}
	for name := range judged {
		if !known[name] {
			t.Errorf("a rule looks at %s, which is no field", name)
		}
	}
	for name := range harmless {
		if !known[name] {
			t.Errorf("%s is no field", name)
		}
	}
}

// needed are the needs of a relay with some settings.
func needed(t *testing.T, environ ...string) publisher.Requirements {
	t.Helper()
	cfg, err := config.Load(append([]string{"NATS_URL=nats://a"}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	events, _ := publisher.DesiredStreams(cfg.Stream)
	return publisher.Requirements{Config: events, Given: cfg.Stream.Given, MaxMessage: 500_000, MaxPayload: 1 << 20}
}

// judgements are streams that are not as the relay makes them, with what is said of
// them; nothing where they are good enough.
var judgements = []struct {
	name     string
	change   func(*jetstream.StreamConfig)
	environ  []string
	severity publisher.Severity
	category publisher.Category
	want     string
}{
	{"as the relay makes it", func(*jetstream.StreamConfig) {}, nil, 0, "", ""},
	{"mirror", func(c *jetstream.StreamConfig) {
		c.Subjects, c.Mirror, c.Duplicates = nil, &jetstream.StreamSource{Name: "ORIGIN"}, time.Hour
	}, nil, publisher.SeverityFatal, publisher.CategoryIntake, "is a mirror of the stream ORIGIN"},
	{"subjects", func(c *jetstream.StreamConfig) { c.Subjects = []string{"apixo.task.*"} }, nil, publisher.SeverityFatal, publisher.CategoryIntake, "leaves apixo.task.> out"},
	{"wider subjects", func(c *jetstream.StreamConfig) { c.Subjects = []string{"apixo.>", "orders"} }, nil, 0, "", ""},
	{"no acknowledgements", func(c *jetstream.StreamConfig) { c.NoAck = true }, nil, publisher.SeverityFatal, publisher.CategoryIntake, "no_ack"},
	{"small messages", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, nil, publisher.SeverityFatal, publisher.CategorySize, "max_msg_size"},
	{"counters", func(c *jetstream.StreamConfig) { c.AllowMsgCounter, c.Discard = true, jetstream.DiscardOld }, nil, publisher.SeverityRefuse, publisher.CategoryIntake, "allow_msg_counter"},
	{"interest", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, nil, publisher.SeverityRefuse, publisher.CategoryRetention, "does not store them while no consumer"},
	{"work queue", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, nil, publisher.SeverityWarn, publisher.CategoryRetention, "cannot be replayed"},
	{"transform", transformed("apixo.task.*", "moved.{{wildcard(1)}}"), nil, publisher.SeverityRefuse, publisher.CategoryIntake, `from "apixo.task.*" to "moved.{{wildcard(1)}}"`},
	{"transform of everything", transformed("", "moved.>"), nil, publisher.SeverityRefuse, publisher.CategoryIntake, `from ">"`},
	{"transform of one subject", transformed("apixo.*.failed", "moved.{{wildcard(1)}}"), nil, publisher.SeverityRefuse, publisher.CategoryIntake, "under other subjects"},
	{"transform of others", transformed("orders.*", "moved.{{wildcard(1)}}"), nil, 0, "", ""},
	{"transform that changes nothing", transformed("apixo.>", "apixo.>"), nil, 0, "", ""},
	{"few of each subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, nil, publisher.SeverityRefuse, publisher.CategoryRetention, "once there are 5 (max_msgs_per_subject)"},
	{"few of each subject, and full", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject, c.DiscardNewPerSubject = 5, true }, nil, 0, "", ""},
	{"few messages", func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 5, jetstream.DiscardOld }, nil, publisher.SeverityRefuse, publisher.CategoryRetention, "drops its oldest events"},
	{"few bytes", func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 5_000_000, jetstream.DiscardOld }, nil, publisher.SeverityRefuse, publisher.CategoryRetention, "discard old"},
	{"full", func(c *jetstream.StreamConfig) { c.MaxBytes, c.MaxMsgs = 5_000_000, 5 }, nil, 0, "", ""},
	{"unbounded", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, nil, 0, "", ""},
	{"asynchronous", func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }, nil, publisher.SeverityRefuse, publisher.CategoryRetention, "persist_mode async"},
	{"window", func(c *jetstream.StreamConfig) { c.Duplicates = 2 * time.Minute }, nil, publisher.SeverityWarn, publisher.CategoryWindow, "remembers ids for 2m0s"},
	{"memory", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, nil, publisher.SeverityWarn, publisher.CategoryRetention, "is kept in memory"},
	{"short age", func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = 14*time.Minute, 14*time.Minute }, nil, publisher.SeverityWarn, publisher.CategoryRetention, "keeps events for 14m0s"},
	{"roll-ups", func(c *jetstream.StreamConfig) { c.AllowRollup = true }, nil, publisher.SeverityWarn, publisher.CategoryRetention, "allow_rollup_hdrs"},
	{"markers", func(c *jetstream.StreamConfig) { c.SubjectDeleteMarkerTTL = time.Hour }, nil, publisher.SeverityWarn, publisher.CategoryRetention, "subject_delete_marker_ttl"},
	{"sources", func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "ORIGIN"}} }, nil, publisher.SeverityWarn, publisher.CategoryRetention, "other streams (sources)"},
	{"more age than is asked for", func(*jetstream.StreamConfig) {}, []string{"RELAY_STREAM_MAX_AGE=24h"}, publisher.SeverityWarn, publisher.CategoryRetention, "keeps events for 168h0m0s, RELAY_STREAM_MAX_AGE says 24h0m0s"},
	{"no age, and none is asked for", func(c *jetstream.StreamConfig) { c.MaxAge = 0 }, nil, 0, "", ""},
	{"less size than is asked for", func(c *jetstream.StreamConfig) { c.MaxBytes = 5_000_000 }, []string{"RELAY_STREAM_MAX_BYTES=-1"}, publisher.SeverityWarn, publisher.CategoryRetention, "has a max_bytes of 5000000, RELAY_STREAM_MAX_BYTES says -1"},
	{"another window than is asked for", func(*jetstream.StreamConfig) {}, []string{"RELAY_DEDUPE_WINDOW=2h"}, publisher.SeverityWarn, publisher.CategoryWindow, "RELAY_DEDUPE_WINDOW says 2h0m0s"},
	{"fewer replicas than are asked for", func(*jetstream.StreamConfig) {}, []string{"RELAY_STREAM_REPLICAS=3"}, publisher.SeverityWarn, publisher.CategoryReplicas, "has 1 replicas, RELAY_STREAM_REPLICAS says 3"},
	{"direct reads, limits of consumers", func(c *jetstream.StreamConfig) {
		c.AllowDirect, c.MaxConsumers, c.ConsumerLimits.MaxAckPending = false, 3, 10
	}, nil, 0, "", ""},
	{"batches", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish, c.AllowBatchPublish = true, true }, nil, 0, "", ""},
	{"republished", func(c *jetstream.StreamConfig) {
		c.RePublish = &jetstream.RePublish{Source: ">", Destination: "copy.>"}
	}, nil, 0, "", ""},
}

func transformed(source, destination string) func(*jetstream.StreamConfig) {
	return func(c *jetstream.StreamConfig) {
		c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: source, Destination: destination}
	}
}

// Each stream is one that a server takes.
func TestValidateStream(t *testing.T) {
	t.Parallel()
	for _, tt := range judgements {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			js := natstest.JetStream(t, natstest.Start(t, natstest.Options(t)).ClientURL())
			cfg := needed(t).Config
			tt.change(&cfg)
			stream, err := js.CreateStream(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			issues := publisher.ValidateStream(stream.CachedInfo(), needed(t, tt.environ...))
			switch {
			case tt.want == "":
				if len(issues) > 0 {
					t.Errorf("it has %+v", issues)
				}
			case !slices.ContainsFunc(issues, func(i publisher.Issue) bool {
				return i.Severity == tt.severity && i.Category == tt.category && strings.Contains(i.Problem+"; "+i.Hint, tt.want) && i.Hint != ""
			}):
				t.Errorf("it has %+v, want %q", issues, tt.want)
			}
		})
	}
}

// What says that RELAY_STREAM_POLICY=update mends it is mended by that, and by nothing
// that takes something away.
func TestHintsAreTrue(t *testing.T) {
	t.Parallel()
	for _, tt := range judgements {
		if tt.want == "" || tt.name == "fewer replicas than are asked for" { // than a single server can have
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, natstest.Options(t))
			js := natstest.JetStream(t, s.ClientURL())
			cfg := needed(t).Config
			tt.change(&cfg)
			stream, err := js.CreateStream(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			said := publisher.ValidateStream(stream.CachedInfo(), needed(t, tt.environ...))[0]
			if said.Updatable != strings.Contains(said.Hint, "RELAY_STREAM_POLICY=update") {
				t.Errorf("the hint is %+v", said)
			}
			b := open(t, s, append(tt.environ, "RELAY_STREAM_POLICY=update")...)
			err = b.Start(t.Context())
			_ = b.Stop(context.Background())
			if fatal := said.Severity == publisher.SeverityFatal && !said.Updatable; (err != nil) != fatal {
				t.Errorf("start: %v", err)
			}
			info, err := stream.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, left := range publisher.ValidateStream(info, needed(t, tt.environ...)) {
				if left.Problem == said.Problem && said.Updatable {
					t.Errorf("it still %s", left.Problem)
				}
			}
			if !said.Updatable && !reflect.DeepEqual(info.Config, stream.CachedInfo().Config) && said.Severity >= publisher.SeverityRefuse {
				t.Errorf("it was changed to %+v", info.Config)
			}
		})
	}
}

// Gaps tell of damage only where nothing else makes them.
func TestGapsThatAreNoDamage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*jetstream.StreamConfig)
		told   bool
	}{
		{"its own", func(*jetstream.StreamConfig) {}, true},
		{"full per subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject, c.DiscardNewPerSubject = 100, true }, true},
		{"evicting", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 100 }, false},
		{"work queue", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, false},
		{"times to live", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, false},
		{"roll-ups", func(c *jetstream.StreamConfig) { c.AllowRollup = true }, false},
		{"shared", func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "orders") }, false},
	} {
		js := natstest.JetStream(t, natstest.Start(t, natstest.Options(t)).ClientURL())
		cfg := needed(t).Config
		tt.change(&cfg)
		stream, err := js.CreateStream(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := js.Publish(t.Context(), "apixo.task.success", nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.DeleteMsg(t.Context(), 2); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		told := false
		for _, issue := range publisher.ValidateStream(info, needed(t)) {
			told = told || strings.Contains(issue.Problem, "has gaps")
		}
		if told != tt.told {
			t.Errorf("%s: told of gaps: %v", tt.name, told)
		}
	}
}
