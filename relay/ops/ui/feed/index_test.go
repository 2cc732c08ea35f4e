package feed

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever comes at both ends, a look-up finds what is in the index and nothing else, newest
// first, and the index has no more than it may.
func TestIndex(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 2, 10, 300, 100_000} {
		for seed := range uint64(5) {
			r := rand.New(rand.NewPCG(seed, 0))
			x := newIndex(limit)
			const middle = 1 << 40
			x.begin(middle)
			var known []entry // ascending
			low, high, first := uint64(middle), uint64(middle), uint64(1)
			gap := func() uint64 {
				if r.IntN(100) == 0 {
					return math.MaxUint32 + 7
				}
				return 1 + r.Uint64N(3)
			}
			id := func() uint32 { return x.hash(fmt.Sprint("task", r.IntN(50))) }
			for range 200 {
				switch r.IntN(5) {
				default:
					for range r.IntN(10) {
						high += gap()
						e := entry{high, id()}
						known = append(known, e)
						x.append(e.sequence, e.hash)
					}
				case 0:
					var window []entry
					for range r.IntN(40) {
						low -= gap()
						window = append(window, entry{low, id()})
					}
					slices.Reverse(window)
					low -= gap()
					x.prepend(x.chunksOf(window), low)
					known = slices.Concat(window, known)
				case 1:
					if seed%2 == 0 {
						continue
					}
					first = max(first, low+r.Uint64N(20))
					x.trim(first)
				}
			}
			if x.size > limit || limit == 100_000 && x.size < len(known)-maxChunk || limit >= 10 && x.size < min(limit, len(known))/2 && seed%2 == 0 {
				t.Errorf("of %d ids at most it has %d of %d", limit, x.size, len(known))
			}
			total := 0
			for n := range 50 {
				id := fmt.Sprint("task", n)
				var want []uint64
				for _, e := range slices.Backward(known) {
					if e.hash == x.hash(id) && e.sequence >= max(x.from, first) {
						want = append(want, e.sequence)
					}
				}
				got := x.find(id)
				total += len(got)
				// What was trimmed may still be found.
				got = slices.DeleteFunc(got, func(s uint64) bool { return s < max(x.from, first) })
				if !slices.Equal(got, want) {
					t.Fatalf("limit %d, seed %d: found %v from %d on, want %v", limit, seed, got, x.from, want)
				}
			}
			if total != x.size {
				t.Errorf("it finds %d, and says that it has %d", total, x.size)
			}
		}
	}
}

func BenchmarkFind(b *testing.B) {
	const n = 1_000_000
	x := newIndex(n)
	x.begin(1)
	for i := range uint64(n) {
		x.append(i+1, x.hash(fmt.Sprint("task", i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(x.find("task0")) == 0 {
			b.Fatal("not found")
		}
	}
}
