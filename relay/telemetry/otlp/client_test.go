package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var spans = []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: strings.Repeat("span", 100)}}}}}}

// client is one that is stopped when the test ends.
func client(t *testing.T, s Settings) *Client {
	t.Helper()
	if s.Timeout == 0 {
		s.Timeout = 10 * time.Second
	}
	c, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop(context.Background()) })
	return c
}

// serve answers requests, by HTTP/2 without TLS too.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// name reads a message of spans: the first one's name.
func name(t *testing.T, message []byte) string {
	var data tracepb.TracesData
	if err := proto.Unmarshal(message, &data); err != nil {
		t.Error(err)
		return ""
	}
	return data.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0].GetName()
}

func unzipped(t *testing.T, b []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Error(err)
		return nil
	}
	b, err = io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return b
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	for _, zip := range []bool{false, true} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if zip {
				body = unzipped(t, body)
			}
			if r.URL.Path != "/p" || r.Method != "POST" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get("Key") != "v w" ||
				r.Header.Get("User-Agent") != "ua" || (r.Header.Get("Content-Encoding") == "gzip") != zip || !strings.HasPrefix(name(t, body), "span") {
				t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
			}
		})
		c := client(t, Settings{Endpoint: s.URL + "/p", Headers: map[string]string{"key": "v w"}, Gzip: zip, UserAgent: "ua"})
		if err := c.UploadTraces(t.Context(), spans); err != nil {
			t.Error(err)
		}
	}
}

// gRPC's framing and headers, and its status in trailers, as its own documentation
// has them ("gRPC over HTTP2").
func TestGRPC(t *testing.T) {
	t.Parallel()
	for _, zip := range []bool{false, true} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if len(body) < 5 || int(binary.BigEndian.Uint32(body[1:])) != len(body)-5 || (body[0] == 1) != zip {
				t.Fatalf("%q", body)
			}
			if body = body[5:]; zip {
				body = unzipped(t, body)
			}
			if r.URL.Path != "/opentelemetry.proto.collector.trace.v1.TraceService/Export" || r.ProtoMajor != 2 || r.Header.Get("Content-Type") != "application/grpc" ||
				r.Header.Get("Te") != "trailers" || (r.Header.Get("Grpc-Encoding") == "gzip") != zip || !strings.HasPrefix(name(t, body), "span") {
				t.Errorf("%s %s %v", r.Proto, r.URL, r.Header)
			}
			w.Header().Set("Trailer", "Grpc-Status")
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write([]byte{0, 0, 0, 0, 0})
			w.Header().Set("Grpc-Status", "0")
		})
		if err := client(t, Settings{Endpoint: s.URL, GRPC: true, Gzip: zip}).UploadTraces(t.Context(), spans); err != nil {
			t.Error(err)
		}
	}
}

// response is a partial success on the wire.
func response(rejected uint64, message string) []byte {
	inner := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), rejected)
	inner = protowire.AppendString(protowire.AppendTag(inner, 2, protowire.BytesType), message)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner)
}

// What collectors answer, and what is made of it.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		grpc    bool
		status  int
		header  map[string]string
		body    []byte
		want    string
		partial int64
		again   bool
	}{
		"taken":                {status: 200},
		"taken, and said so":   {status: 200, body: response(0, "")},
		"taken, in JSON":       {status: 200, body: []byte(`{"partialSuccess":{}}`)},
		"a part":               {status: 200, body: response(7, "too old"), want: `rejected 7 spans: "too old"`, partial: 7},
		"a warning":            {status: 202, body: response(0, "slow down"), want: `rejected 0 spans: "slow down"`},
		"refused":              {status: 400, header: map[string]string{"Content-Type": "text/plain"}, body: []byte("no such\nthing"), want: `the collector answered 400 Bad Request: "no such\nthing"`},
		"refused, in protobuf": {status: 401, body: []byte("\x01\x02"), want: `the collector answered 401 Unauthorized`},
		"elsewhere":            {status: 302, header: map[string]string{"Location": "http://192.0.2.1/"}, want: `302`},
		"busy":                 {status: 429, want: "429", again: true},
		"away":                 {status: 503, header: map[string]string{"Retry-After": "1"}, want: "503", again: true},
		"gateway":              {status: 504, want: "504", again: true},
		"broken":               {status: 500, want: "500"},

		"gRPC: taken":           {grpc: true, status: 200, header: map[string]string{"Grpc-Status": "0"}},
		"gRPC: a part":          {grpc: true, status: 200, header: map[string]string{"Grpc-Status": "0"}, body: append([]byte{0, 0, 0, 0, byte(len(response(3, "x")))}, response(3, "x")...), want: "rejected 3 spans", partial: 3},
		"gRPC: refused":         {grpc: true, status: 200, header: map[string]string{"Grpc-Status": "16", "Grpc-Message": "no%20key"}, want: `the gRPC status 16: "no key"`},
		"gRPC: away":            {grpc: true, status: 200, header: map[string]string{"Grpc-Status": "14"}, want: "14", again: true},
		"gRPC: no gRPC there":   {grpc: true, status: 404, want: "404 Not Found and no gRPC status: is this its port for gRPC?"},
		"gRPC: a proxy's error": {grpc: true, status: 502, want: "502", again: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requests := 0
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for name, value := range c.header {
					w.Header().Set(name, value)
				}
				if requests++; requests == 1 || !c.again {
					w.WriteHeader(c.status)
					_, _ = w.Write(c.body)
					return
				}
				w.Header().Set("Grpc-Status", "0")
			})
			settings := Settings{Endpoint: s.URL, GRPC: c.grpc}
			if c.again {
				settings.Timeout = firstPause - time.Millisecond // too little for a retry
			}
			err := client(t, settings).UploadTraces(t.Context(), spans)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if part, ok := errors.AsType[*PartialError](err); ok && part.Rejected != c.partial || !ok && c.partial > 0 {
				t.Errorf("%v", err)
			}
			if requests != 1 {
				t.Errorf("%d requests", requests)
			}
			if !c.again {
				return
			}
			settings.Timeout = 10 * time.Second
			requests = 0
			if err := client(t, settings).UploadTraces(t.Context(), spans); err != nil || requests != 2 {
				t.Errorf("%v after %d requests, want nil after 2", err, requests)
			}
		})
	}
}

// refusing has nobody who answers.
type refusing struct{ requests []time.Time }

func (r *refusing) RoundTrip(*http.Request) (*http.Response, error) {
	r.requests = append(r.requests, time.Now())
	return nil, errors.New("nobody is there")
}

// Retries come at longer and longer intervals, and end in time.
func TestRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var away refusing
		c := &Client{settings: Settings{Timeout: 10 * time.Second}, url: "http://collector", http: &http.Client{Transport: &away}}
		began := time.Now()
		if err := c.UploadTraces(t.Context(), spans); err == nil || !strings.Contains(err.Error(), "nobody is there") {
			t.Error(err)
		}
		var at []time.Duration
		for _, r := range away.requests {
			at = append(at, r.Sub(began))
		}
		want := []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond, 3500 * time.Millisecond, 7500 * time.Millisecond}
		if len(at) != len(want) || at[4] != want[4] || at[1] != want[1] {
			t.Errorf("requests at %v, want %v", at, want)
		}
	})
}

// silent does not answer any more, after it has once.
type silent struct{ asked bool }

func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	if !s.asked {
		s.asked = true
		return &http.Response{Status: "503 Service Unavailable", StatusCode: 503, Body: http.NoBody}, nil
	}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// Of a collector that said what is wrong, and then nothing, the error says that.
func TestTheErrorIsTheLastWord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &Client{settings: Settings{Timeout: 10 * time.Second}, url: "http://collector", http: &http.Client{Transport: &silent{}}}
		if err := c.UploadTraces(t.Context(), spans); err == nil || !strings.Contains(err.Error(), "503") {
			t.Error(err)
		}
	})
}

// Certificates are checked, with the authorities that are named, and nobody else's.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			w.Header().Set("Grpc-Status", "0")
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, grpc := range []bool{false, true} {
		if err := client(t, Settings{Endpoint: s.URL, GRPC: grpc, CA: ca}).UploadTraces(t.Context(), spans); err != nil {
			t.Errorf("gRPC %v: %v", grpc, err)
		}
		// At once: trying again within the time, which here is for ever, would not mend it.
		err := client(t, Settings{Endpoint: s.URL, GRPC: grpc, Timeout: time.Hour}).UploadTraces(t.Context(), spans)
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
			t.Errorf("gRPC %v, an unknown authority: %v", grpc, err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Settings{{CA: "/nowhere"}, {CA: empty}, {Cert: empty, Key: empty}} {
		if _, err := New(s); err == nil || !strings.Contains(err.Error(), s.CA+s.Cert) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// A password in the endpoint is in no error.
func TestErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	c := client(t, Settings{Endpoint: "http://user:a-secret@127.0.0.1:1/", Headers: map[string]string{"key": "a-secret"}, Timeout: 50 * time.Millisecond})
	if err := c.UploadTraces(t.Context(), spans); err == nil || strings.Contains(err.Error(), "a-secret") {
		t.Error(err)
	}
}
