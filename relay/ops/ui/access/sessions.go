package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

// sessionLife is how long a session lasts, however much it is used: a working day.
const sessionLife = 12 * time.Hour

// maxSessions bounds what somebody with a token can make the page keep.
const maxSessions = 1000

// sessionIDBytes are far beyond guessing.
const sessionIDBytes = 32

// sessions are those that have not ended. Of an id only its digest is kept: who reads the
// memory of this process gets no session, and finding one takes no time that tells of another.
type sessions struct {
	mu    sync.Mutex
	open  map[[sha256.Size]byte]*session
	begun uint64 // counts all
}

// session lasts as long as its life, and no longer than until ends by the clock on the wall: a
// timer stands still while a machine sleeps.
type session struct {
	number uint64
	ends   time.Time
	life   context.Context
	end    context.CancelFunc
}

func newSessions() *sessions { return &sessions{open: make(map[[sha256.Size]byte]*session)} }

// begin opens a session that ends with the token of which valid tells, and returns its id. If
// there are too many that last, the oldest ends.
func (s *sessions) begin(valid context.Context, now time.Time) (id string) {
	secret := make([]byte, sessionIDBytes)
	_, _ = rand.Read(secret) // never fails
	id = base64.RawURLEncoding.EncodeToString(secret)
	life, end := context.WithTimeout(valid, sessionLife)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxSessions {
		s.makeRoom(now)
	}
	s.begun++
	s.open[sha256.Sum256([]byte(id))] = &session{number: s.begun, ends: now.Add(sessionLife), life: life, end: end}
	return id
}

// makeRoom is called with the lock held.
func (s *sessions) makeRoom(now time.Time) {
	oldest := s.begun
	for key, session := range s.open {
		if !session.lasts(now) {
			delete(s.open, key)
			continue
		}
		oldest = min(oldest, session.number)
	}
	if len(s.open) < maxSessions {
		return
	}
	for key, session := range s.open {
		if session.number == oldest {
			session.end()
			delete(s.open, key)
		}
	}
}

// find returns the session of an id, or nil if there is none that lasts.
func (s *sessions) find(id string, now time.Time) *session {
	key := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.open[key]
	if session != nil && !session.lasts(now) {
		delete(s.open, key)
		return nil
	}
	return session
}

// lasts reports whether a session has not ended, and ends it if its time is over.
func (s *session) lasts(now time.Time) bool {
	if !now.Before(s.ends) {
		s.end()
	}
	return s.life.Err() == nil
}
