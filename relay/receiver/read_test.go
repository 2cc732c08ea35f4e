package receiver

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// greedy counts what it is asked for beyond what it has given so far.
type greedy struct {
	io.Reader
	given, worst int
}

func (g *greedy) Read(p []byte) (int, error) {
	g.worst = max(g.worst, len(p)-g.given)
	n, err := g.Reader.Read(p)
	g.given += n
	return n, err
}

func TestReadUpTo(t *testing.T) {
	t.Parallel()
	const limit = 100 << 10
	for _, size := range []int{0, 1, firstRead - 1, firstRead, firstRead + 1, 2*firstRead - 1, 2 * firstRead, 50 << 10, limit - 1, limit} {
		body := bytes.Repeat([]byte("b"), size)
		for name, reader := range map[string]io.Reader{
			"at once": bytes.NewReader(body), "in bytes": iotest.OneByteReader(bytes.NewReader(body)), "with its end": iotest.DataErrReader(bytes.NewReader(body)),
		} {
			for _, declared := range []int64{-1, int64(size)} {
				g := &greedy{Reader: reader}
				got, err := readUpTo(g, declared, limit)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes %s, %d declared: got %d, %v", size, name, declared, len(got), err)
				}
				if declared >= 0 && cap(got) > size+1 {
					t.Errorf("%d bytes %s are kept in %d", size, name, cap(got))
				}
				if cap(got) > limit+1 || g.worst > firstRead {
					t.Errorf("%d bytes %s, %d declared: held in %d, and %d made ready ahead of them", size, name, declared, cap(got), g.worst)
				}
				reader = bytes.NewReader(body)
			}
		}
	}
}

// What is more than the limit is not read, and what fails is not kept.
func TestReadUpToStops(t *testing.T) {
	t.Parallel()
	const limit = 10 << 10
	long := &greedy{Reader: iotest.OneByteReader(endless('b'))}
	if got, err := readUpTo(long, -1, limit); err != nil || len(got) != limit+1 || long.given != limit+1 {
		t.Errorf("read %d of an endless body, %v", long.given, err)
	}
	want := errors.New("gone")
	if got, err := readUpTo(io.MultiReader(bytes.NewReader(make([]byte, limit)), iotest.ErrReader(want)), -1, limit); !errors.Is(err, want) || got != nil {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// endless is an endless row of one byte.
type endless byte

func (b endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}
