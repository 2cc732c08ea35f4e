package schema_test

import (
	"testing"

	"github.com/apixo-relay/apixo-relay/schema"
)

func BenchmarkParseWebhook(b *testing.B) {
	for _, name := range []string{"success.json", "success-many-urls.json", "success-music-object.json", "failed.json"} {
		body := payload(b, name)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := schema.ParseWebhook(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
