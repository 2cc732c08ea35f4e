package event_test

import (
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

// BenchmarkEncode is the way from a body to a message: reading it is part of it.
func BenchmarkEncode(b *testing.B) {
	d := delivery(payload(b, "success.json"), map[string]string{"model": "nano-banana"})
	for name, mode := range map[string]event.Mode{"structured": event.Structured, "binary": event.Binary} {
		encoder := event.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo", Mode: mode}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if msg, err := encoder.Encode(d); err != nil || msg.Rejection != nil {
					b.Fatal(msg.Rejection, err)
				}
			}
		})
	}
}
