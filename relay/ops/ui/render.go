package ui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/text"
)

//go:embed templates
var templateFiles embed.FS

// page is what each view has.
type page struct {
	// View is the name of its template.
	View, Title string
	// Status is that of the answer; 0 means 200.
	Status int
	// Live is where what changes comes from.
	Live string
	// Refresh is after how many seconds a browser without scripts loads it again; 0 for never.
	Refresh int
	// Body is what the view shows.
	Body any
	// Bare: it is for somebody who has not been let in, and tells nothing of the relay.
	Bare bool

	// What render adds:
	Nav                   []navItem
	SignedIn, ReadOnly    bool
	Trouble               string
	Version, Stream, Zone string
}

type navItem struct {
	Path, Name string
	Current    bool
}

// views are those of the navigation, with the templates that belong to each.
var views = []struct {
	path, name string
	templates  []string
}{
	{"/", "Now", []string{"now"}},
	{"/events", "Events", []string{"events", "task", "search"}},
	{"/quarantine", "Quarantine", []string{"quarantine", "quarantined", "question", "aside"}},
	{"/replay", "Replay", []string{"replay"}},
	{"/expected", "Expected", []string{"expected"}},
	{"/checks", "Checks", []string{"checks"}},
}

// functions are those that templates have.
var functions = template.FuncMap{
	"static":  staticPath,
	"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"clock":   clock,
	"count": func(n any) string {
		switch n := n.(type) {
		case int:
			return text.Count(n)
		case uint64:
			return text.Count(n)
		case int64:
			return text.Count(n)
		}
		return fmt.Sprint(n)
	},
}

// clock writes a time as the commands do, in the zone of this process.
func clock(t time.Time) string { return t.Local().Format(time.DateTime) }

func parseTemplates() *template.Template {
	return template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/*.html"))
}

// render writes a view.
func (s *Server) render(w http.ResponseWriter, r *http.Request, p page) {
	var b bytes.Buffer
	s.complete(r, &p)
	for _, name := range []string{"layout", p.View, "end"} {
		if err := s.templates.ExecuteTemplate(&b, name, p); err != nil {
			s.o.Log.Error("a view cannot be rendered", "view", p.View, "error", err)
			http.Error(w, "This view cannot be rendered; the log says why.", http.StatusInternalServerError)
			return
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	if p.Status != 0 {
		w.WriteHeader(p.Status)
	}
	_, _ = w.Write(b.Bytes()) // whoever has hung up needs no answer
}

// renderSlow writes the head of a view at once, and the rest when there is a body to show.
func (s *Server) renderSlow(w http.ResponseWriter, r *http.Request, p page, body func() any) {
	s.complete(r, &p)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := s.templates.ExecuteTemplate(w, "layout", p); err != nil {
		return // whoever has hung up needs no answer
	}
	if head := p.View + "-head"; s.templates.Lookup(head) != nil {
		_ = s.templates.ExecuteTemplate(w, head, p)
	}
	_ = http.NewResponseController(w).Flush()
	p.Body = body()
	for _, name := range []string{p.View, "end"} {
		if err := s.templates.ExecuteTemplate(w, name, p); err != nil {
			s.o.Log.Debug("a view was not written to its end", "view", p.View, "error", err)
			return
		}
	}
}

// complete adds what every view has.
func (s *Server) complete(r *http.Request, p *page) {
	if p.Bare {
		return
	}
	p.SignedIn, p.ReadOnly = s.tokens != nil && s.guard.SignedIn(r), s.o.ReadOnly
	p.Version, p.Stream, p.Trouble = s.o.Version, s.cfg.Stream.Name, s.trouble()
	p.Zone = zone(time.Now())
	if p.Live == "" && p.View != "error" {
		p.Live = "/live?view=" + p.View
	}
	if p.Live != "" {
		p.Live += "&boot=" + s.boot
	}
	for _, v := range views {
		item := navItem{Path: v.path, Name: v.name}
		for _, name := range v.templates {
			item.Current = item.Current || name == p.View
		}
		p.Nav = append(p.Nav, item)
	}
}

// zone names the zone in which times are shown.
func zone(now time.Time) string {
	name, offset := now.Zone()
	if offset == 0 {
		return "UTC"
	}
	return "UTC" + now.Format("-07:00") + " (" + name + ")"
}

// fragment renders a part of a view.
func (s *Server) fragment(name string, data any) string {
	var b bytes.Buffer
	if err := s.templates.ExecuteTemplate(&b, name, data); err != nil {
		s.o.Log.Error("a part of a view cannot be rendered", "part", name, "error", err)
	}
	return b.String()
}

// refuse writes a view that says why something is not done, and what to do.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, title, detail string) {
	s.render(w, r, page{View: "error", Title: title, Status: status, Body: detail})
}

// keepOut is refuse for somebody who has not been let in.
func (s *Server) keepOut(w http.ResponseWriter, r *http.Request, status int, title, detail string) {
	s.render(w, r, page{View: "error", Title: title, Status: status, Body: detail, Bare: true})
}

// signInPage writes the form in which somebody signs in.
func (s *Server) signInPage(w http.ResponseWriter, r *http.Request, next string, failed bool) {
	p := page{View: "sign-in", Title: "Sign in", Bare: true, Body: struct {
		Next   string
		Failed bool
	}{next, failed}}
	if failed {
		p.Status = http.StatusUnauthorized
	}
	s.render(w, r, p)
}
