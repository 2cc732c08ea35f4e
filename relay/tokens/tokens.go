// Package tokens holds the secrets that are valid now, and compares what somebody brings
// with them in constant time.
//
// It must not know where a secret comes from, nor how one is brought.
package tokens

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"sync"
	"sync/atomic"
)

// Set is a set of secrets. It can be changed while others compare with it. A nil *Set is for
// where nobody is asked for one, and a Set without any lets nobody in.
type Set struct {
	replacing sync.Mutex
	tokens    atomic.Pointer[[]token]
}

type token struct {
	// Digests are compared instead of secrets, since they are of one length, so that not
	// even the length of a secret shows in the time that it takes.
	digest [sha256.Size]byte
	// valid ends when the token is no longer in the set.
	valid context.Context
	end   context.CancelFunc
}

// New makes a set. Empty secrets are left out: everybody has those.
func New(secrets []string) *Set {
	s := &Set{}
	s.Replace(secrets)
	return s
}

// Replace changes all secrets. Those that were in the set and are not any more end what
// [Set.Find] has returned for them.
func (s *Set) Replace(secrets []string) {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	old := s.all()
	next := make([]token, 0, len(secrets))
	for _, secret := range secrets {
		digest := sha256.Sum256([]byte(secret))
		if secret == "" || at(next, digest) >= 0 {
			continue
		}
		if i := at(old, digest); i >= 0 {
			next = append(next, old[i])
			continue
		}
		valid, end := context.WithCancel(context.Background())
		next = append(next, token{digest, valid, end})
	}
	s.tokens.Store(&next)
	for _, t := range old {
		if at(next, t.digest) < 0 {
			t.end()
		}
	}
}

// at returns the place of a digest among tokens that are all known, or -1.
func at(tokens []token, digest [sha256.Size]byte) int {
	return slices.IndexFunc(tokens, func(t token) bool { return t.digest == digest })
}

func (s *Set) all() []token {
	if tokens := s.tokens.Load(); tokens != nil {
		return *tokens
	}
	return nil
}

// Match reports whether one of the candidates is in the set. Every candidate is compared with
// every secret, whichever of them match, in constant time.
func (s *Set) Match(candidates ...string) bool {
	if s == nil {
		return true
	}
	match := 0
	for _, candidate := range candidates {
		digest := sha256.Sum256([]byte(candidate))
		for _, t := range s.all() {
			match |= subtle.ConstantTimeCompare(digest[:], t.digest[:])
		}
	}
	return match == 1
}

// Find looks for one candidate, as Match does, on behalf of something that outlasts a request,
// such as a session: valid ends when the secret is taken out of the set, and does not begin
// again when the secret comes back. s must not be nil.
func (s *Set) Find(candidate string) (valid context.Context, ok bool) {
	digest := sha256.Sum256([]byte(candidate))
	found := -1
	tokens := s.all()
	for i, t := range tokens {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], t.digest[:]), i, found)
	}
	if found < 0 {
		return nil, false
	}
	return tokens[found].valid, true
}
