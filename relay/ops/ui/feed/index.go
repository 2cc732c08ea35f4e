package feed

import (
	"hash/maphash"
	"math"
	"slices"
)

// maxChunk is how many ids a chunk has: what is dropped at once when the index is full.
const maxChunk = 16_384

// index finds the sequences of a task by a hash of its id, of the newest messages of a stream.
// An id takes 8 bytes; a look-up goes through all of them.
type index struct {
	limit  int
	seed   maphash.Seed
	chunks []*chunk // oldest first
	size   int      // of all chunks
	// from is the sequence from which on all is known; 0 before anything is.
	from uint64
	// full: there is no room for older messages any more.
	full bool
}

// chunk has the ids of messages whose sequences lie near each other.
type chunk struct {
	base    uint64
	offsets []uint32 // from base, ascending
	hashes  []uint32
}

func newIndex(limit int) *index { return &index{limit: limit, seed: maphash.MakeSeed()} }

// chunkSize bounds what a full index drops at once.
func (x *index) chunkSize() int { return min(maxChunk, max(x.limit/8, 1)) }

func (x *index) hash(taskID string) uint32 { return uint32(maphash.String(x.seed, taskID)) }

// begin empties the index; from next on it is told of all messages.
func (x *index) begin(next uint64) { x.chunks, x.size, x.from, x.full = nil, 0, next, false }

// append adds a message that is newer than all others.
func (x *index) append(sequence uint64, hash uint32) {
	var c *chunk
	if len(x.chunks) > 0 {
		c = x.chunks[len(x.chunks)-1]
	}
	if c == nil || len(c.hashes) >= x.chunkSize() || sequence-c.base > math.MaxUint32 {
		c = &chunk{base: sequence}
		x.chunks = append(x.chunks, c)
	}
	c.offsets, c.hashes = append(c.offsets, uint32(sequence-c.base)), append(c.hashes, hash)
	x.size++
	for x.size > x.limit && len(x.chunks) > 1 {
		x.full = true
		x.drop()
	}
}

// drop forgets the oldest chunk.
func (x *index) drop() {
	c := x.chunks[0]
	x.from = c.last() + 1
	x.size -= len(c.hashes)
	x.chunks = slices.Delete(x.chunks, 0, 1)
}

func (c *chunk) last() uint64 { return c.base + uint64(c.offsets[len(c.offsets)-1]) }

// entry is a message that is older than what an index has.
type entry struct {
	sequence uint64
	hash     uint32
}

// prepend adds messages, oldest first, that are older than all others; none from the sequence
// from on is missing. The oldest ones that have no room are left out.
func (x *index) prepend(entries []entry, from uint64) {
	if x.full {
		return
	}
	if room := max(x.limit-x.size, 0); len(entries) > room {
		x.full = true
		if entries = entries[len(entries)-room:]; room == 0 {
			return
		}
		from = entries[0].sequence
	}
	var chunks []*chunk
	size := x.chunkSize()
	for rest := entries; len(rest) > 0; {
		n := min(size, len(rest))
		c := &chunk{base: rest[0].sequence, offsets: make([]uint32, 0, n), hashes: make([]uint32, 0, n)}
		for _, e := range rest[:n] {
			if e.sequence-c.base > math.MaxUint32 {
				break
			}
			c.offsets, c.hashes = append(c.offsets, uint32(e.sequence-c.base)), append(c.hashes, e.hash)
		}
		chunks, rest = append(chunks, c), rest[len(c.hashes):]
	}
	x.chunks = slices.Insert(x.chunks, 0, chunks...)
	x.size += len(entries)
	x.from = from
}

// trim forgets what is below the first sequence of the stream.
func (x *index) trim(first uint64) {
	for len(x.chunks) > 0 && x.chunks[0].last() < first {
		x.drop()
	}
	x.from = max(x.from, first)
}

// find returns the sequences whose ids have the same hash, newest first.
func (x *index) find(taskID string) (sequences []uint64) {
	hash := x.hash(taskID)
	for _, c := range slices.Backward(x.chunks) {
		found := len(sequences)
		for i, h := range c.hashes {
			if h == hash {
				sequences = append(sequences, c.base+uint64(c.offsets[i]))
			}
		}
		slices.Reverse(sequences[found:])
	}
	return sequences
}
