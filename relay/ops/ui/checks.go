package ui

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
)

const (
	// checkTimeout bounds a report, and reportAge is for how long it is shown to others who
	// look.
	checkTimeout = 10 * time.Second
	reportAge    = 10 * time.Second
)

// report is a report of checks.
type report struct{ check.Report }

// checksView is what is shown of it.
type checksView struct {
	Summary  string
	At       time.Time
	Checks   []check.Check
	Commands []string
}

// checks shows a report, and makes one if there is none of this moment.
func (s *Server) checks(w http.ResponseWriter, r *http.Request) {
	s.renderSlow(w, r, page{View: "checks", Title: "Checks"}, func() any {
		found, at, _ := s.report.get(r.Context(), reportAge, func(ctx context.Context) report {
			user := check.AnyUser
			if s.o.ReadOnly {
				user = check.ReadingUser
			}
			return report{check.Run(ctx, check.Options{Environ: s.o.Environ, User: user, Timeout: checkTimeout})}
		})
		v := checksView{At: at, Checks: found.Checks, Commands: []string{"apixo-relay check"}}
		failed, warned := found.Count(check.Fail), found.Count(check.Warn)
		switch {
		case failed > 0:
			v.Summary = fmt.Sprintf("%d of %d checks failed, %d warn.", failed, len(v.Checks), warned)
		case warned > 0:
			v.Summary = fmt.Sprintf("Nothing failed; %d of %d checks warn.", warned, len(v.Checks))
		default:
			v.Summary = fmt.Sprintf("All %d checks are well.", len(v.Checks))
		}
		return v
	})
}

// checkAgain has the next report made anew.
func (s *Server) checkAgain(w http.ResponseWriter, r *http.Request) {
	s.report.forget()
	http.Redirect(w, r, "/checks", http.StatusSeeOther)
}
