package ui

import "net/http"

// routes are the views, and what their forms post to.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.now)
	mux.HandleFunc("GET /tasks", s.findTask)
	mux.HandleFunc("GET /tasks/{id}", s.task)
	mux.HandleFunc("GET /tasks/{id}/files/{n}", s.file)
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /events/export", s.export)
	mux.HandleFunc("GET /quarantine", s.quarantine)
	mux.HandleFunc("GET /quarantine/{seq}", s.quarantined)
	mux.HandleFunc("GET /quarantine/{seq}/body", s.body)
	mux.HandleFunc("GET /quarantine/put-aside", s.askPutAside)
	mux.HandleFunc("POST /quarantine/put-aside", s.putAside)
	mux.HandleFunc("POST /quarantine/send", s.sendAgain)
	mux.HandleFunc("GET /quarantine/send", s.postOnly)
	mux.HandleFunc("GET /replay", s.replayForm)
	mux.HandleFunc("POST /replay", s.startReplay)
	mux.HandleFunc("POST /replay/stop", s.stopReplay)
	mux.HandleFunc("GET /replay/stop", s.postOnly)
	mux.HandleFunc("GET /expected", s.expected)
	mux.HandleFunc("GET /checks", s.checks)
	mux.HandleFunc("POST /checks", s.checkAgain)
	mux.HandleFunc("GET /live", s.live)
	mux.Handle("GET /static/", staticFiles())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusNotFound, "Nothing is here", "The page has no view at this address; the views are above.")
	})
	return mux
}

// postOnly refuses what a form of the page sends, and nobody follows a link to.
func (s *Server) postOnly(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", http.MethodPost)
	s.refuse(w, r, http.StatusMethodNotAllowed, "Not like this", "This address is for the forms of the page.")
}
