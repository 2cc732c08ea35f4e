// Package targettest holds targets of an archive against their contract.
package targettest

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
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
)

// Stand is an empty target, and how to see what there is behind its back.
type Stand struct {
	// Name is the target as [target.Parse] takes it, Options what it needs besides.
	Name    string
	Options target.Options
	// Part is how much of a file is stored at a time, in bytes.
	Part int
	// Leftovers counts what is there besides whole files.
	Leftovers func(t *testing.T) int
	// Mixes: the server replaces a file and what is told of it one after the other, so that
	// of several at once it can keep the file of one and the digest of another. S3 does not.
	Mixes bool
}

// Run tests a kind of target. Each test has a stand of its own.
func Run(t *testing.T, stand func(t *testing.T) Stand) {
	for name, test := range map[string]func(*testing.T, *bench){
		"keeps files":                           keepsFiles,
		"another file takes the key":            replaces,
		"readers that fail leave nothing":       failedReaders,
		"puts that are cancelled leave nothing": cancelled,
		"puts at once end in one file":          atOnce,
		"what is abandoned is removed":          cleans,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stand(t)
			test(t, &bench{s, s.open(t, func(*target.Options) {})})
		})
	}
}

// bench is a stand with its target opened.
type bench struct {
	Stand
	target.Target
}

func (s Stand) open(t *testing.T, change func(*target.Options)) target.Target {
	t.Helper()
	spec, err := target.Parse(s.Name)
	if err != nil {
		t.Fatal(err)
	}
	change(&s.Options)
	opened, err := spec.Open(t.Context(), s.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

func (s Stand) expectNoLeftovers(t *testing.T) {
	t.Helper()
	if n := s.Leftovers(t); n != 0 {
		t.Errorf("%d parts are left", n)
	}
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

func put(t *testing.T, at target.Target, key string, p []byte) target.Object {
	t.Helper()
	object, err := at.Put(t.Context(), key, bytes.NewReader(p), target.Meta{Source: from, MediaType: target.Sniff(p)})
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// expect looks at what is stored at a key.
func expect(t *testing.T, at target.Target, key string, want []byte) {
	t.Helper()
	body, err := at.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s has %d bytes (%s), %v; want %d (%s)", key, len(got), digestOf(got), err, len(want), digestOf(want))
	}
	got, err := at.Stat(t.Context(), key)
	if err != nil || got.Bytes != int64(len(want)) || got.SHA256 != digestOf(want) || got.MediaType != target.Sniff(want) {
		t.Fatalf("Stat of %s = %+v, %v", key, got, err)
	}
	if got.IsFrom != nil && (!got.IsFrom(from) || got.IsFrom(from+"2")) {
		t.Errorf("%s is not known to come from its address, or is from any", key)
	}
}

func expectNone(t *testing.T, at target.Target, key string) {
	t.Helper()
	if got, err := at.Stat(t.Context(), key); !errors.Is(err, target.ErrNotFound) {
		t.Errorf("Stat of %s = %+v, %v", key, got, err)
	}
	if _, err := at.Get(t.Context(), key); !errors.Is(err, target.ErrNotFound) {
		t.Errorf("Get of %s: %v", key, err)
	}
}

func keepsFiles(t *testing.T, s *bench) {
	if s.String() != s.Name {
		t.Errorf("the target calls itself %s, and not %s", s, s.Name)
	}
	files := map[string][]byte{
		target.Key("a:b", 1, "https://h/empty"):     {},
		target.Key("a:b", 2, "https://h/x.png"):     png,
		target.Key("..", 500, "https://h/big.bin"):  content(1, 3*s.Part+7),
		target.Key("task", 4, "https://h/even.bin"): content(2, 2*s.Part),
	}
	for key, p := range files {
		expectNone(t, s, key)
		if got := put(t, s, key, p); got.Bytes != int64(len(p)) || got.SHA256 != digestOf(p) || got.MediaType != target.Sniff(p) {
			t.Errorf("Put of %s says %+v", key, got)
		}
	}
	reader := s.open(t, func(o *target.Options) { o.ReadOnly = true })
	for key, p := range files {
		expect(t, s, key, p)
		expect(t, reader, key, p)
	}
	if _, err := reader.Put(t.Context(), "task/01-x", bytes.NewReader(nil), target.Meta{}); err == nil {
		t.Error("a target that was opened for reading stores")
	}
	s.expectNoLeftovers(t)
}

func replaces(t *testing.T, s *bench) {
	key := target.Key("task", 1, "https://h/x.bin")
	for seed, size := range []int{2 * s.Part, 5, 5, s.Part + 1} {
		p := content(uint64(seed), size)
		put(t, s, key, p)
		put(t, s, key, p)
		expect(t, s, key, p)
	}
	s.expectNoLeftovers(t)
}

// cut is a reader that fails after some bytes.
func cut(after int, err error) io.Reader {
	return io.MultiReader(bytes.NewReader(content(9, after)), iotest.ErrReader(err))
}

type originError struct{ reason string }

func (e *originError) Error() string { return e.reason }

// An origin that fails changes nothing, at whichever byte.
func failedReaders(t *testing.T, s *bench) {
	old, fresh := target.Key("task", 1, "https://h/x.bin"), target.Key("other", 1, "https://h/x.bin")
	put(t, s, old, png)
	for _, key := range []string{old, fresh} {
		for _, after := range []int{0, 1, s.Part - 1, s.Part, 2*s.Part + 1} {
			_, err := s.Put(t.Context(), key, cut(after, &originError{"cut off"}), target.Meta{})
			var want *originError
			if !errors.As(err, &want) || want.reason != "cut off" {
				t.Errorf("after %d bytes: %v", after, err)
			}
			if _, err := s.Put(t.Context(), key, cut(after, io.ErrUnexpectedEOF), target.Meta{}); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("an unexpected end after %d bytes is taken for %v", after, err)
			}
		}
	}
	expect(t, s, old, png)
	expectNone(t, s, fresh)
	s.expectNoLeftovers(t)
}

func cancelled(t *testing.T, s *bench) {
	key, why := target.Key("task", 1, "https://h/x.bin"), errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	endless := readerFunc(func(p []byte) (int, error) {
		return len(p), nil
	})
	limited := io.MultiReader(io.LimitReader(endless, int64(3*s.Part)), readerFunc(func([]byte) (int, error) {
		cancel(why)
		return 1, nil
	}), endless)
	if _, err := s.Put(ctx, key, limited, target.Meta{}); !errors.Is(err, why) {
		t.Errorf("Put ends in %v", err)
	}
	if _, err := s.Put(ctx, key, bytes.NewReader(png), target.Meta{}); !errors.Is(err, why) {
		t.Errorf("a Put that was cancelled before ends in %v", err)
	}
	expectNone(t, s, key)
	s.expectNoLeftovers(t)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Several programs that store at the same key leave the whole file of one of them.
func atOnce(t *testing.T, s *bench) {
	key := target.Key("task", 1, "https://h/x.bin")
	var wg sync.WaitGroup
	var all [6][]byte
	var stored atomic.Int32
	for i := range all {
		all[i] = content(uint64(i%4), s.Part+1000) // some are the same
		other := s.open(t, func(*target.Options) {})
		wg.Go(func() {
			_, err := other.Put(t.Context(), key, bytes.NewReader(all[i]), target.Meta{Source: from, MediaType: target.Sniff(all[i])})
			if err == nil {
				stored.Add(1)
			} else {
				t.Logf("one has not: %v", err) // as its upload was taken for one of a program that was killed
			}
		})
	}
	wg.Wait()
	if s.Mixes { // what comes of it is not the target's doing; who comes later sets it right
		p := content(9, s.Part+1000)
		if _, err := s.Put(t.Context(), key, bytes.NewReader(p), target.Meta{Source: from, MediaType: target.Sniff(p)}); err != nil {
			t.Fatal(err)
		}
		expect(t, s, key, p)
		s.expectNoLeftovers(t)
		return
	}
	if stored.Load() == 0 {
		t.Error("nobody has stored")
	}
	got, err := s.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all[:], func(p []byte) bool { return digestOf(p) == got.SHA256 })
	if i < 0 {
		t.Fatalf("the file is none of those that were stored: %+v", got)
	}
	expect(t, s, key, all[i])
	s.expectNoLeftovers(t)
}

// killed leaves what a program does that is killed while it stores.
func killed(t *testing.T, s *bench, key string) {
	t.Helper()
	reached, end := make(chan struct{}), make(chan struct{})
	var once sync.Once
	reader := io.MultiReader(bytes.NewReader(content(5, 2*s.Part)), readerFunc(func([]byte) (int, error) {
		once.Do(func() { close(reached) })
		<-end
		return 0, io.EOF
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = s.Put(context.Background(), key, reader, target.Meta{})
	}()
	<-reached
	t.Cleanup(func() { close(end); <-done })
}

// What nobody works on goes away, what somebody works on stays, and whole files do too.
func cleans(t *testing.T, s *bench) {
	whole := map[string][]byte{}
	for i := range 3 {
		key := target.Key(fmt.Sprint("task", i), 1, "https://h/x.bin")
		whole[key] = content(uint64(i), i*s.Part)
		put(t, s, key, whole[key])
	}
	for i := range 3 {
		killed(t, s, target.Key(fmt.Sprint("task", i+1), 1, "https://h/x.bin"))
	}
	if n := s.Leftovers(t); n != 3 {
		t.Fatalf("%d parts are there, and not 3: this test cannot tell anything", n)
	}
	if err := s.Clean(t.Context()); err != nil || s.Leftovers(t) != 3 {
		t.Errorf("Clean leaves %d parts of 3 that are fresh, %v", s.Leftovers(t), err)
	}
	var log bytes.Buffer
	later := s.open(t, func(o *target.Options) {
		o.Abandoned = time.Nanosecond
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	if err := later.Clean(t.Context()); err != nil || s.Leftovers(t) != 0 {
		t.Errorf("Clean leaves %d parts, %v", s.Leftovers(t), err)
	}
	if !bytes.Contains(log.Bytes(), []byte("files=3")) {
		t.Errorf("Clean tells %s", &log)
	}
	for key, p := range whole {
		expect(t, s, key, p)
	}
}
