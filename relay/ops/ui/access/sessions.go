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
// there are too many, the oldest ends.
func (s *sessions) begin(valid context.Context, now time.Time) (id string) {
	secret := make([]byte, sessionIDBytes)
	_, _ = rand.Read(secret) // never fails
	id = base64.RawURLEncoding.EncodeToString(secret)
	key := sha256.Sum256([]byte(id))
	life, end := context.WithTimeout(valid, sessionLife)
	s.mu.Lock()
	if len(s.open) >= maxSessions {
		s.dropOldest()
	}
	s.begun++
	s.open[key] = &session{number: s.begun, ends: now.Add(sessionLife), life: life, end: end}
	s.mu.Unlock()
	context.AfterFunc(life, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, key)
	})
	return id
}

// dropOldest is called with the lock held.
func (s *sessions) dropOldest() {
	var oldest [sha256.Size]byte
	number := s.begun + 1
	for key, session := range s.open {
		if session.number < number {
			oldest, number = key, session.number
		}
	}
	s.open[oldest].end()
	delete(s.open, oldest)
}

// find returns the session of an id, or nil if there is none that lasts.
func (s *sessions) find(id string, now time.Time) *session {
	key := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.open[key]
	switch {
	case session == nil:
		return nil
	case session.life.Err() != nil, !now.Before(session.ends):
		session.end()
		delete(s.open, key)
		return nil
	}
	return session
}
