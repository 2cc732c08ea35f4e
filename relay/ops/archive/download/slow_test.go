package download_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/schema"
)

// dripping opens a file of this size whose origin sends a piece of it, waits, and so on.
func dripping(t *testing.T, size, piece int, wait time.Duration) *download.File {
	t.Helper()
	c := download.New(download.Options{Hosts: config.Origins{"http://drip"}, MaxBytes: 1 << 20})
	ended := make(chan struct{})
	c.SetDial(func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer close(ended)
			defer there.Close()
			if _, err := http.ReadRequest(bufio.NewReader(there)); err != nil {
				return
			}
			fmt.Fprintf(there, "%sContent-Length: %d\r\n\r\n", status200, size)
			for left := size; left > 0; left -= piece {
				time.Sleep(wait)
				if _, err := io.WriteString(there, strings.Repeat("x", min(piece, left))); err != nil {
					return
				}
			}
		}()
		return here, nil
	})
	f, err := c.Open(t.Context(), "http://drip/a.png")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); c.Close(); <-ended })
	return f
}

// An origin may take its time, and not all of it.
func TestDrip(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{time.Second, 20 * time.Second} {
		t.Run("too slow", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				f := dripping(t, 100_000, 30, wait)
				_, err := io.Copy(io.Discard, f)
				e, failed := err.(*download.Error)
				if took := time.Since(began); !failed || took != 30*time.Second {
					t.Fatalf("%v after %s", err, took)
				}
				want(t, e, schema.ReasonUnavailable, true, "less than 1024 bytes within 30s")
				if _, again := f.Read(make([]byte, 1)); again != err {
					t.Errorf("and then it ends in %v", again)
				}
			})
		})
	}
	t.Run("slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			n, err := io.Copy(io.Discard, dripping(t, 100_000, 40, time.Second))
			if took := time.Since(began); err != nil || n != 100_000 || took < 2500*time.Second {
				t.Errorf("%d bytes in %s, %v", n, took, err)
			}
		})
	})
	t.Run("read slowly", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := dripping(t, 3, 1, 0)
			for range 3 {
				time.Sleep(time.Hour)
				if n, err := f.Read(make([]byte, 1)); n != 1 || err != nil && err != io.EOF {
					t.Fatal(n, err)
				}
			}
		})
	})
}
