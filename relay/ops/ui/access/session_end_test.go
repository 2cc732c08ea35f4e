package access_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/ui/access"
)

// The clock on the wall can be set back, which makes no session longer.
func TestSessionEndsByATimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPage(access.Options{}, goodToken)
		session := with(p.ask("POST", "/sign-in", form("token", goodToken)).Cookies()...)
		time.Sleep(12*time.Hour - time.Second)
		if got := p.ask("GET", "/", session); got.StatusCode != 200 {
			t.Errorf("before the end: %d", got.StatusCode)
		}
		go p.ask("GET", "/live", session)
		<-p.begun
		time.Sleep(time.Second)
		synctest.Wait()
		select {
		case <-p.ended:
		default:
			t.Error("what flows to a session goes on after its end")
		}
		if got := p.ask("GET", "/", session); got.StatusCode != 303 {
			t.Errorf("after the end: %d", got.StatusCode)
		}
	})
}

// What flows ends with what it was let in for.
func TestLiveEnds(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken, otherToken)
	for name, test := range map[string]struct {
		who func() change
		end func(who change)
	}{
		"signing out":                 {func() change { return with(p.signIn(t, goodToken)) }, func(who change) { p.do(t, "POST", "/sign-out", who) }},
		"signing in again":            {func() change { return with(p.signIn(t, goodToken)) }, func(who change) { p.do(t, "POST", "/sign-in", who, form("token", goodToken)) }},
		"rotation":                    {func() change { return with(p.signIn(t, otherToken)) }, func(change) { p.tokens.Replace([]string{goodToken}) }},
		"rotation of a Bearer token":  {func() change { return bearer(otherToken) }, func(change) { p.tokens.Replace([]string{goodToken}) }},
		"going away, while signed in": {func() change { return with(p.signIn(t, goodToken)) }, nil},
	} {
		p.tokens.Replace([]string{goodToken, otherToken})
		who := test.who()
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", p.URL+"/live", nil)
		if err != nil {
			t.Fatal(err)
		}
		who(r)
		response, err := p.Client().Do(r)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", name, response, err)
		}
		<-p.begun
		if test.end == nil {
			cancel()
		} else {
			test.end(who)
		}
		select {
		case <-p.ended:
		case <-time.After(2 * time.Minute):
			t.Errorf("%s: what flows goes on", name)
		}
		if want := test.end == nil; p.admits.Load() != want {
			t.Errorf("%s: whether it would be let in again: %t", name, !want)
		}
		cancel()
		response.Body.Close()
	}
}

// What flows to the oldest of too many sessions ends, too.
func TestLiveEndsForWantOfRoom(t *testing.T) {
	t.Parallel()
	p := newPage(access.Options{}, goodToken)
	oldest := with(p.ask("POST", "/sign-in", form("token", goodToken)).Cookies()...)
	go p.ask("GET", "/live", oldest)
	<-p.begun
	for range 1000 {
		p.ask("POST", "/sign-in", form("token", goodToken))
	}
	select {
	case <-p.ended:
	case <-time.After(2 * time.Minute):
		t.Error("what flows goes on")
	}
}

// What somebody has begun to change is finished, whoever signs out meanwhile.
func TestChangeIsFinished(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken)
	session := with(p.signIn(t, goodToken))
	answers := make(chan answer, 1)
	ends := make(chan struct{})
	p.slow = func(*http.Request) { p.begun <- struct{}{}; <-ends }
	go func() { answers <- p.do(t, "POST", "/slow", session) }()
	<-p.begun
	p.do(t, "POST", "/sign-out", session)
	close(ends)
	if got := <-answers; got.status != 200 || !strings.Contains(got.body, "signed in: false, admitted: false, context: <nil>") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// There are no more than a thousand sessions, and the oldest goes.
func TestManySessions(t *testing.T) {
	t.Parallel()
	p := newPage(access.Options{}, goodToken)
	var sessions []change
	signIn := func(n int) {
		for range n {
			sessions = append(sessions, with(p.ask("POST", "/sign-in", form("token", goodToken)).Cookies()...))
		}
	}
	signIn(1000)
	if got := p.ask("GET", "/", sessions[0]); got.StatusCode != 200 {
		t.Errorf("the first of 1000 sessions: %d", got.StatusCode)
	}
	signIn(2)
	for i, want := range map[int]int{0: 303, 1: 303, 2: 200, 3: 200, 999: 200, 1000: 200, 1001: 200} {
		if got := p.ask("GET", "/", sessions[i]); got.StatusCode != want {
			t.Errorf("session %d of 1002: %d, want %d", i+1, got.StatusCode, want)
		}
	}
}

// Sessions that have ended put nobody out.
func TestManyEndedSessions(t *testing.T) {
	t.Parallel()
	p := newPage(access.Options{}, goodToken, otherToken)
	signIn := func(token string) change { return with(p.ask("POST", "/sign-in", form("token", token)).Cookies()...) }
	early := signIn(goodToken)
	for range 300 {
		signIn(otherToken)
	}
	p.tokens.Replace([]string{goodToken})
	p.clock.pass(time.Hour)
	lasting := signIn(goodToken)
	for range 698 {
		p.ask("POST", "/sign-out", signIn(goodToken))
	}
	p.clock.pass(11 * time.Hour)
	for range 999 {
		signIn(goodToken)
	}
	if got := p.ask("GET", "/", lasting); got.StatusCode != 200 {
		t.Errorf("a session that lasts: %d", got.StatusCode)
	}
	if got := p.ask("GET", "/", early); got.StatusCode != 303 {
		t.Errorf("one of 12 hours: %d", got.StatusCode)
	}
}
