package feed

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
)

// maxChunk is how many ids a chunk has: what is dropped at once when the index is full, and what
// a look-up goes through one by one.
const maxChunk = 16_384

// index finds the sequences of a task by a hash of its id, of the newest messages of a stream.
// An id takes 8 bytes.
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
	base, last uint64 // sequences
	// ids are the hash, in the upper half, and how far behind base its sequence is. They
	// are sorted where the chunk is complete; the last one is in the order of sequences.
	ids    []uint64
	sorted bool
}

// add adds a message that is newer than all others, if the chunk can have it.
func (c *chunk) add(sequence uint64, hash uint32, size int) bool {
	if len(c.ids) == 0 {
		c.base = sequence
	}
	if len(c.ids) >= size || sequence-c.base > math.MaxUint32 {
		return false
	}
	c.ids = append(c.ids, uint64(hash)<<32|(sequence-c.base))
	c.last = sequence
	return true
}

func (c *chunk) sort() {
	slices.Sort(c.ids)
	c.sorted = true
}

// find appends the sequences that have the hash, newest first.
func (c *chunk) find(sequences []uint64, hash uint32) []uint64 {
	found, ids := len(sequences), c.ids
	if c.sorted {
		i, _ := slices.BinarySearchFunc(ids, hash, func(id uint64, hash uint32) int { return cmp.Compare(uint32(id>>32), hash) })
		ids = ids[i:]
	}
	for _, id := range ids {
		if uint32(id>>32) == hash {
			sequences = append(sequences, c.base+id&math.MaxUint32)
		} else if c.sorted {
			break
		}
	}
	slices.Reverse(sequences[found:])
	return sequences
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
	if c == nil || c.sorted || !c.add(sequence, hash, x.chunkSize()) {
		if c != nil && !c.sorted {
			c.sort()
		}
		c = new(chunk)
		c.add(sequence, hash, 1)
		x.chunks = append(x.chunks, c)
	}
	x.size++
	for x.size > x.limit && len(x.chunks) > 1 {
		x.full = true
		x.drop()
	}
}

// drop forgets the oldest chunk.
func (x *index) drop() {
	c := x.chunks[0]
	x.from = c.last + 1
	x.size -= len(c.ids)
	x.chunks = slices.Delete(x.chunks, 0, 1)
}

// entry is a message that is older than what an index has.
type entry struct {
	sequence uint64
	hash     uint32
}

// chunksOf makes chunks of messages, oldest first. It needs no lock.
func (x *index) chunksOf(entries []entry) (chunks []*chunk) {
	size := x.chunkSize()
	var c *chunk
	for i, e := range entries {
		if c == nil || !c.add(e.sequence, e.hash, size) {
			c = &chunk{ids: make([]uint64, 0, min(size, len(entries)-i))}
			c.add(e.sequence, e.hash, size)
			chunks = append(chunks, c)
		}
	}
	for _, c := range chunks {
		c.sort()
	}
	return chunks
}

// prepend adds messages, oldest first, that are older than all others; none from the sequence
// from on is missing. The oldest ones that have no room are left out.
func (x *index) prepend(chunks []*chunk, from uint64) {
	if x.full {
		return
	}
	n := 0
	for i, c := range slices.Backward(chunks) {
		if x.size+n+len(c.ids) > x.limit {
			x.full = true
			if chunks = chunks[i+1:]; len(chunks) == 0 {
				return
			}
			from = chunks[0].base
			break
		}
		n += len(c.ids)
	}
	x.chunks = slices.Insert(x.chunks, 0, chunks...)
	x.size += n
	x.from = from
}

// trim forgets what is below the first sequence of the stream.
func (x *index) trim(first uint64) {
	for len(x.chunks) > 0 && x.chunks[0].last < first {
		x.drop()
	}
	x.from = max(x.from, first)
}

// find returns the sequences whose ids have the same hash, newest first.
func (x *index) find(taskID string) (sequences []uint64) {
	hash := x.hash(taskID)
	for _, c := range slices.Backward(x.chunks) {
		sequences = c.find(sequences, hash)
	}
	return sequences
}
