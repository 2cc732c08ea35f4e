package rig

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Store is the folder of a broker's store, whose files can be damaged while the
// broker is down.
type Store string

// Store is where the server stores.
func (s *Server) Store() Store { return Store(filepath.Join(s.dir, "store")) }

// Store is where the relay's embedded broker stores.
func (r *Relay) Store() Store { return Store(r.Dir) }

// Blocks are the files with a stream's messages, in their order.
func (s Store) Blocks(stream string) ([]string, error) {
	files, err := s.files(filepath.Join("streams", stream, "msgs") + string(filepath.Separator))
	files = slices.DeleteFunc(files, func(f string) bool { return !strings.HasSuffix(f, ".blk") })
	// 10.blk comes after 9.blk.
	slices.SortFunc(files, func(a, b string) int {
		if d := len(a) - len(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("the store %s has no messages of the stream %s", s, stream)
	}
	return files, err
}

// Indexes are the files from which a stream's state is read after an orderly end.
func (s Store) Indexes(stream string) ([]string, error) {
	return s.some(filepath.Join("streams", stream, "msgs", "index.db"))
}

// Consumers are the files with the states of a stream's consumers.
func (s Store) Consumers(stream string) ([]string, error) {
	files, err := s.some(filepath.Join("streams", stream, "obs") + string(filepath.Separator))
	return slices.DeleteFunc(files, func(f string) bool { return filepath.Base(f) != "o.dat" }), err
}

// Logs are the files of the log by which a cluster agrees on its streams.
func (s Store) Logs() ([]string, error) {
	files, err := s.some(filepath.Join("_js_", "S-"))
	return slices.DeleteFunc(files, func(f string) bool { return !strings.HasSuffix(f, ".blk") }), err
}

func (s Store) some(part string) ([]string, error) {
	files, err := s.files(part)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("the store %s has no %s", s, part)
	}
	return files, err
}

// files are those with some part in their paths.
func (s Store) files(part string) (files []string, err error) {
	err = filepath.WalkDir(string(s), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(path, part) {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

// FlipBit flips one bit of a file's first bytes, or of all of them if limit is 0.
func FlipBit(random *rand.Rand, file string, limit int) error {
	return edit(file, func(text []byte) []byte {
		if limit == 0 {
			limit = len(text)
		}
		text[random.IntN(min(limit, len(text)))] ^= 1 << random.IntN(8)
		return text
	})
}

// CutTail takes that many bytes off the end of a file.
func CutTail(file string, bytes int) error {
	return edit(file, func(text []byte) []byte { return text[:max(0, len(text)-bytes)] })
}

// ZeroTail overwrites that many bytes at the end of a file with zeros.
func ZeroTail(file string, bytes int) error {
	return edit(file, func(text []byte) []byte {
		clear(text[max(0, len(text)-bytes):])
		return text
	})
}

// AddTail adds that many bytes to a file: zeros, or the beginning of the record
// with which the file begins, as a write leaves it that was never finished.
func AddTail(file string, bytes int, zeros bool) error {
	return edit(file, func(text []byte) []byte {
		tail := slices.Clone(text[:min(bytes, len(text))])
		if zeros {
			clear(tail)
		}
		return append(text, tail...)
	})
}

func edit(file string, change func([]byte) []byte) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return fmt.Errorf("%s is empty, and cannot be damaged", file)
	}
	return os.WriteFile(file, change(text), 0o600)
}
