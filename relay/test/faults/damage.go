package faults

import (
	"fmt"
	"slices"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// damage is something that is done to a store while its broker is down.
type damage struct {
	name    string
	orderly bool // after an orderly end, else after SIGKILL
	do      func(*trial, rig.Store) error

	harmless bool // it touches nothing that was acknowledged
	position bool // it is done to what a consumer has read
}

// String is for a reader of the table.
func (d damage) String() string {
	if d.orderly {
		return d.name + ", after an orderly end"
	}
	return d.name + ", after SIGKILL"
}

// Blocks are of 4 MiB with these limits, so that a store has a first, a middle
// and a last one.
const (
	heavy        = 150_000 // bytes of a webhook
	heavyCount   = 70
	mediumBlocks = "RELAY_STREAM_MAX_BYTES=30000000"
)

// block damages one of the files with the stream's messages.
func block(which func(blocks []string) string, do func(t *trial, file string) error) func(*trial, rig.Store) error {
	return func(t *trial, s rig.Store) error {
		blocks, err := s.Blocks(stream)
		if err != nil {
			return err
		}
		if len(blocks) < 3 {
			return fmt.Errorf("the store has %d blocks, and no middle one", len(blocks))
		}
		return do(t, which(blocks))
	}
}

func firstBlock(blocks []string) string  { return blocks[0] }
func middleBlock(blocks []string) string { return blocks[len(blocks)/2] }
func lastBlock(blocks []string) string   { return blocks[len(blocks)-1] }

// flip flips a bit anywhere in a file.
func flip(t *trial, file string) error {
	return rig.FlipBit(t.rand, file, 0)
}

// flipHead flips a bit in the head of a file's first record.
func flipHead(t *trial, file string) error { return rig.FlipBit(t.rand, file, 22) }

// files damages all of some files.
func files(find func(rig.Store) ([]string, error), do func(t *trial, file string) error) func(*trial, rig.Store) error {
	return func(t *trial, s rig.Store) error {
		all, err := find(s)
		for _, file := range all {
			if err == nil {
				err = do(t, file)
			}
		}
		return err
	}
}

func indexes(s rig.Store) ([]string, error)   { return s.Indexes(stream) }
func consumers(s rig.Store) ([]string, error) { return s.Consumers(stream) }

// cutRecord cuts the last record in its middle.
func cutRecord(_ *trial, file string) error { return rig.CutTail(file, heavy/2) }

// torn are those that touch nothing that was acknowledged. An index is written in
// an orderly end only.
var torn = harmless(slices.Concat(
	both("half a record more", block(lastBlock, func(_ *trial, f string) error { return rig.AddTail(f, heavy/2, false) })),
	both("zeros more", block(lastBlock, func(_ *trial, f string) error { return rig.AddTail(f, 4096, true) })),
	[]damage{
		{name: "a consumer's state flipped", position: true, do: files(consumers, flip)},
		{name: "a consumer's state flipped", orderly: true, position: true, do: files(consumers, flip)},
		{name: "index.db flipped", orderly: true, do: files(indexes, flip)},
		{name: "index.db cut", orderly: true, do: files(indexes, func(_ *trial, f string) error { return rig.CutTail(f, 20) })},
		{name: "index.db emptied", orderly: true, do: files(indexes, func(_ *trial, f string) error { return rig.CutTail(f, 1<<30) })},
	},
))

func harmless(all []damage) []damage {
	for i := range all {
		all[i].harmless = true
	}
	return all
}

// physical are those that destroy what was acknowledged.
var physical = slices.Concat(both("a bit in the first block", block(firstBlock, flip)),
	both("a bit in a middle block", block(middleBlock, flip)),
	both("a bit in the last block", block(lastBlock, flip)),
	both("a bit in the head of a record", block(middleBlock, flipHead)),
	both("the last record cut", block(lastBlock, cutRecord)),
	both("zeros at the end", block(lastBlock, func(_ *trial, f string) error { return rig.ZeroTail(f, 4096) })),
)

func both(name string, do func(*trial, rig.Store) error) []damage {
	return []damage{{name: name, do: do}, {name: name, orderly: true, do: do}}
}
