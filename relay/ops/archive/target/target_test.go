package target

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// stand is a target, and how to see what there is behind its back.
type stand struct {
	Target
	spec    Spec
	options Options
	// parts counts what is there besides whole files.
	parts func(t *testing.T) int
}

func open(t *testing.T, text string, o Options) Target {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	target, err := s.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

func newStand(t *testing.T, text string, o Options, parts func(*testing.T) int) *stand {
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return &stand{Target: open(t, text, o), spec: s, options: o, parts: parts}
}

// again opens the target once more, with other options.
func (s *stand) again(t *testing.T, change func(*Options)) Target {
	o := s.options
	change(&o)
	return open(t, s.spec.String(), o)
}

// stands are one target of each kind that this package can have here.
func stands(t *testing.T, test func(t *testing.T, s *stand)) {
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "a b", "files")
		test(t, newStand(t, "file://"+filepath.ToSlash(dir[:len(dir)-len("a b/files")])+"a%20b/files", Options{}, func(t *testing.T) int { return countParts(t, dir) }))
	})
	t.Run("nats", func(t *testing.T) {
		t.Parallel()
		js := natstest.JetStream(t, natstest.Start(t, natstest.Options(t)).ClientURL())
		test(t, newStand(t, "nats:FILES", Options{JetStream: js}, func(t *testing.T) int { return countOrphans(t, js, "FILES") }))
	})
}

func content(seed uint64, size int) []byte {
	p := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(p)
	return p
}

func digestOf(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

var png = append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 100)...)

const from = "https://cdn.apixo.ai/a.png?signature=secret"

func put(t *testing.T, target Target, key string, p []byte) Object {
	t.Helper()
	object, err := target.Put(t.Context(), key, bytes.NewReader(p), Meta{Source: from, MediaType: Sniff(p)})
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// expect looks at what is stored at a key.
func expect(t *testing.T, target Target, key string, want []byte) {
	t.Helper()
	body, err := target.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s has %d bytes (%s), %v; want %d (%s)", key, len(got), digestOf(got), err, len(want), digestOf(want))
	}
	got, err := target.Stat(t.Context(), key)
	if err != nil || got.Bytes != int64(len(want)) || got.SHA256 != digestOf(want) || got.MediaType != Sniff(want) {
		t.Fatalf("Stat of %s = %+v, %v", key, got, err)
	}
	if got.IsFrom != nil && (!got.IsFrom(from) || got.IsFrom(from+"2")) {
		t.Errorf("%s is not known to come from its address, or is from any", key)
	}
}

func expectNone(t *testing.T, target Target, key string) {
	t.Helper()
	if got, err := target.Stat(t.Context(), key); !errors.Is(err, ErrNotFound) {
		t.Errorf("Stat of %s = %+v, %v", key, got, err)
	}
	if _, err := target.Get(t.Context(), key); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of %s: %v", key, err)
	}
}

func TestTargetsKeepFiles(t *testing.T) {
	t.Parallel()
	stands(t, func(t *testing.T, s *stand) {
		files := map[string][]byte{
			Key("a:b", 1, "https://h/empty"):     {},
			Key("a:b", 2, "https://h/x.png"):     png,
			Key("..", 500, "https://h/big.bin"):  content(1, 3*maxChunk+7),
			Key("task", 4, "https://h/even.bin"): content(2, 2*maxChunk),
		}
		for key, p := range files {
			expectNone(t, s, key)
			if got := put(t, s, key, p); got.Bytes != int64(len(p)) || got.SHA256 != digestOf(p) || got.MediaType != Sniff(p) {
				t.Errorf("Put of %s says %+v", key, got)
			}
		}
		reader := s.again(t, func(o *Options) { o.ReadOnly = true })
		for key, p := range files {
			expect(t, s, key, p)
			expect(t, reader, key, p)
			task := "task"
			for _, id := range []string{"a:b", ".."} {
				if Key(id, 1, "")[:3] == key[:3] {
					task = id
				}
			}
			spec, got, err := ParseLocation(s.Location(key), task)
			if err != nil || spec != s.spec || got != key {
				t.Errorf("the location %s is read as %s, %q, %v", s.Location(key), spec, got, err)
			}
		}
		if _, err := reader.Put(t.Context(), "task/01-x", bytes.NewReader(nil), Meta{}); err == nil {
			t.Error("a target that was opened for reading stores")
		}
		if n := s.parts(t); n != 0 {
			t.Errorf("%d parts are left", n)
		}
	})
}

func TestAnotherFileTakesTheKey(t *testing.T) {
	t.Parallel()
	stands(t, func(t *testing.T, s *stand) {
		key := Key("task", 1, "https://h/x.bin")
		for seed, size := range []int{2 * maxChunk, 5, 5, maxChunk + 1} {
			p := content(uint64(seed), size)
			put(t, s, key, p)
			put(t, s, key, p)
			expect(t, s, key, p)
		}
		if n := s.parts(t); n != 0 {
			t.Errorf("%d parts are left", n)
		}
	})
}

// cut is a reader that fails after some bytes.
func cut(after int, err error) io.Reader {
	return io.MultiReader(bytes.NewReader(content(9, after)), iotest.ErrReader(err))
}

type originError struct{ reason string }

func (e *originError) Error() string { return e.reason }

// An origin that fails changes nothing, at whichever byte.
func TestFailedReadersLeaveNothing(t *testing.T) {
	t.Parallel()
	stands(t, func(t *testing.T, s *stand) {
		old, fresh := Key("task", 1, "https://h/x.bin"), Key("other", 1, "https://h/x.bin")
		put(t, s, old, png)
		for _, key := range []string{old, fresh} {
			for _, after := range []int{0, 1, maxChunk - 1, maxChunk, 2*maxChunk + 1} {
				_, err := s.Put(t.Context(), key, cut(after, &originError{"cut off"}), Meta{})
				var want *originError
				if !errors.As(err, &want) || want.reason != "cut off" {
					t.Errorf("after %d bytes: %v", after, err)
				}
				if _, err := s.Put(t.Context(), key, cut(after, io.ErrUnexpectedEOF), Meta{}); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("an unexpected end after %d bytes is taken for %v", after, err)
				}
			}
		}
		expect(t, s, old, png)
		expectNone(t, s, fresh)
		if n := s.parts(t); n != 0 {
			t.Errorf("%d parts are left", n)
		}
	})
}

func TestCancelledPutsLeaveNothing(t *testing.T) {
	t.Parallel()
	stands(t, func(t *testing.T, s *stand) {
		key, why := Key("task", 1, "https://h/x.bin"), errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		endless := readerFunc(func(p []byte) (int, error) {
			return len(p), nil
		})
		limited := io.MultiReader(io.LimitReader(endless, 3*maxChunk), readerFunc(func([]byte) (int, error) {
			cancel(why)
			return 1, nil
		}), endless)
		if _, err := s.Put(ctx, key, limited, Meta{}); !errors.Is(err, why) {
			t.Errorf("Put ends in %v", err)
		}
		if _, err := s.Put(ctx, key, bytes.NewReader(png), Meta{}); !errors.Is(err, why) {
			t.Errorf("a Put that was cancelled before ends in %v", err)
		}
		expectNone(t, s, key)
		if n := s.parts(t); n != 0 {
			t.Errorf("%d parts are left", n)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Several programs that store at the same key leave the whole file of one of them.
func TestConcurrentPutsEndInOneFile(t *testing.T) {
	t.Parallel()
	stands(t, func(t *testing.T, s *stand) {
		key := Key("task", 1, "https://h/x.bin")
		var wg sync.WaitGroup
		var all [6][]byte
		for i := range all {
			all[i] = content(uint64(i%4), maxChunk+1000) // two of them are the same
			target := s.again(t, func(*Options) {})
			wg.Go(func() {
				if _, err := target.Put(t.Context(), key, bytes.NewReader(all[i]), Meta{Source: from, MediaType: Sniff(all[i])}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, err := s.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			if digestOf(all[i]) == got.SHA256 {
				expect(t, s, key, all[i])
				if n := s.parts(t); n != 0 {
					t.Errorf("%d parts are left", n)
				}
				return
			}
		}
		t.Errorf("the file is none of those that were stored: %+v", got)
	})
}

// killed leaves what a program does that is killed while it stores.
func killed(t *testing.T, s *stand, key string) {
	t.Helper()
	reached, end := make(chan struct{}), make(chan struct{})
	var once sync.Once
	reader := io.MultiReader(bytes.NewReader(content(5, 2*maxChunk)), readerFunc(func([]byte) (int, error) {
		once.Do(func() { close(reached) })
		<-end
		return 0, io.EOF
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = s.Put(context.Background(), key, reader, Meta{})
	}()
	<-reached
	t.Cleanup(func() { close(end); <-done })
}

// What nobody works on goes away, what somebody works on stays, and whole files do too.
func TestCleanRemovesWhatIsAbandoned(t *testing.T) {
	t.Parallel()
	stands(t, func(t *testing.T, s *stand) {
		whole := map[string][]byte{}
		for i := range 3 {
			key := Key(fmt.Sprint("task", i), 1, "https://h/x.bin")
			whole[key] = content(uint64(i), i*maxChunk)
			put(t, s, key, whole[key])
		}
		for i := range 3 {
			killed(t, s, Key(fmt.Sprint("task", i+1), 1, "https://h/x.bin"))
		}
		if n := s.parts(t); n != 3 {
			t.Fatalf("%d parts are there, and not 3: this test cannot tell anything", n)
		}
		if err := s.Clean(t.Context()); err != nil || s.parts(t) != 3 {
			t.Errorf("Clean leaves %d parts of 3 that are fresh, %v", s.parts(t), err)
		}
		var log bytes.Buffer
		later := s.again(t, func(o *Options) { o.Abandoned = time.Nanosecond; o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		if err := later.Clean(t.Context()); err != nil || s.parts(t) != 0 {
			t.Errorf("Clean leaves %d parts, %v", s.parts(t), err)
		}
		if !bytes.Contains(log.Bytes(), []byte("files=3")) {
			t.Errorf("Clean tells %s", &log)
		}
		for key, p := range whole {
			expect(t, s, key, p)
		}
	})
}
