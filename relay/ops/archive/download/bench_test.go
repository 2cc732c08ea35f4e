package download_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
)

// BenchmarkDownload fetches a file of 1 MiB; the floor is what net/http does alone.
func BenchmarkDownload(b *testing.B) {
	file := make([]byte, 1<<20)
	s := origin(b, func(w http.ResponseWriter, r *http.Request) { w.Write(file) }, (*httptest.Server).Start)
	buffer := make([]byte, 64<<10)
	read := func(b *testing.B, r io.ReadCloser) {
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buffer); n != int64(len(file)) || err != nil {
			b.Fatal(n, err)
		}
		r.Close()
	}
	b.Run("client", func(b *testing.B) {
		c := client(b, download.Options{MaxBytes: 1 << 30}, s.URL)
		b.SetBytes(int64(len(file)))
		for b.Loop() {
			f, err := c.Open(b.Context(), s.URL)
			if err != nil {
				b.Fatal(err)
			}
			read(b, f)
		}
	})
	b.Run("floor", func(b *testing.B) {
		b.SetBytes(int64(len(file)))
		for b.Loop() {
			response, err := s.Client().Get(s.URL)
			if err != nil {
				b.Fatal(err)
			}
			read(b, response.Body)
		}
	})
}
