package target

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// source reads what is stored, and knows what it was.
type source struct {
	ctx   context.Context
	r     io.Reader
	hash  hash.Hash
	bytes int64
	err   error // of r, or the cause of ctx's end
}

func newSource(ctx context.Context, r io.Reader) *source {
	return &source{ctx: ctx, r: r, hash: sha256.New()}
}

// Read reads until ctx ends.
func (s *source) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.hash.Write(p[:n])
	s.bytes += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// fill reads until p is full, or to the end. Unlike io.ReadFull it leaves errors as they are,
// so that io.ErrUnexpectedEOF is never the end.
func (s *source) fill(p []byte) (n int, end bool, err error) {
	for n < len(p) {
		m, err := s.Read(p[n:])
		n += m
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

func (s *source) digest() string { return hex.EncodeToString(s.hash.Sum(nil)) }

func (s *source) object(mediaType string) Object {
	return Object{Bytes: s.bytes, SHA256: s.digest(), MediaType: mediaType}
}

// readAll reads a stored file to its end to learn what it is.
func readAll(ctx context.Context, r io.Reader) (Object, error) {
	s := newSource(ctx, r)
	p := make([]byte, 128<<10)
	n, end, err := s.fill(p)
	mediaType := Sniff(p[:min(n, SniffBytes)])
	for !end && err == nil {
		_, end, err = s.fill(p)
	}
	return s.object(mediaType), err
}

// sourceDigest stands for an address, which is not stored as it is: there can be a signature
// in it.
func sourceDigest(address string) string {
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:])
}

// isFrom is [Object.IsFrom] of what was stored with a digest; nil without one.
func isFrom(digest string) func(string) bool {
	if digest == "" {
		return nil
	}
	return func(address string) bool { return sourceDigest(address) == digest }
}
