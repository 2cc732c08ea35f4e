package ui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/timeparse"
)

// sendPatience is how long the answer to sending one delivery again waits for what comes of it.
const sendPatience = 2 * time.Second

// replayForm is what the form of a replay has besides the selection.
type replayFields struct {
	form
	Target, Mode, Rate string
}

// replayView is the page of replays.
type replayView struct {
	Form    replayFields
	Targets []string
	Problem string
	Job     *jobView
}

func (s *Server) replayView() replayView {
	v := replayView{Job: s.jobs.view(s.o.ReadOnly)}
	for _, target := range s.cfg.UI.Targets {
		v.Targets = append(v.Targets, target.Name)
	}
	return v
}

// replayForm shows the form, and the replay under way or the last one.
func (s *Server) replayForm(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	v := s.replayView()
	v.Form = replayFields{form: formOf(q), Target: q.Get("target"), Mode: q.Get("mode"), Rate: q.Get("rate")}
	s.render(w, r, page{View: "replay", Title: "Replay", Body: v})
}

// startReplay starts what the form asks for: to one of the targets, and to nowhere else.
func (s *Server) startReplay(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.refuse(w, r, http.StatusBadRequest, "The form cannot be read", err.Error())
		return
	}
	f := replayFields{form: formOf(r.PostForm), Target: r.PostForm.Get("target"), Mode: r.PostForm.Get("mode"), Rate: strings.TrimSpace(r.PostForm.Get("rate"))}
	refuse := func(status int, err error) {
		v := s.replayView()
		v.Form, v.Problem = f, err.Error()
		s.render(w, r, page{View: "replay", Title: "Replay", Status: status, Body: v})
	}
	target, ok := s.cfg.UI.Targets.Get(f.Target)
	action := r.PostForm.Get("action")
	switch {
	case !ok:
		refuse(http.StatusBadRequest, fmt.Errorf("%q is no target of RELAY_UI_TARGETS, and events are replayed to nowhere else", shorten(f.Target)))
		return
	case action != "preview" && action != "start":
		refuse(http.StatusBadRequest, errors.New("the form says neither preview nor start"))
		return
	}
	rate, err := timeparse.Rate(f.Rate)
	if err != nil {
		refuse(http.StatusBadRequest, fmt.Errorf("Rate: %q %w", shorten(f.Rate), err))
		return
	}
	selection, filter, err := f.selection(s.cfg, time.Now())
	if err == nil && selection.FromSeq == 0 && selection.Since.IsZero() {
		err = errors.New("where to begin is missing: fill in Since, such as 1h, or From sequence, which is 1 for everything")
	}
	if err == nil {
		err = s.replay(target, f, replay.Options{Selection: selection, Filter: filter, Rate: rate, MaxFailures: replay.DefaultMaxFailures, DryRun: action == "preview"})
	}
	switch {
	case err != nil:
		refuse(statusOfStart(err), err)
	default:
		s.awaitJob(r.Context())
		again := f.query()
		again.Set("target", f.Target)
		for name, value := range map[string]string{"mode": f.Mode, "rate": f.Rate} {
			if value != "" {
				again.Set(name, value)
			}
		}
		http.Redirect(w, r, "/replay?"+again.Encode(), http.StatusSeeOther)
	}
}

// awaitJob waits a moment for the end of a replay, so that one that is short is done when its
// page is shown.
func (s *Server) awaitJob(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sendPatience)
	defer cancel()
	s.jobs.wait(ctx)
}

// replay begins a replay to a target.
func (s *Server) replay(to config.Target, f replayFields, o replay.Options) error {
	// Before the target is opened, which only a replay closes.
	release, err := s.jobs.reserve()
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(context.Background(), brokerTimeout)
	defer cancel()
	one := &job{dryRun: o.DryRun, command: replayCommand(to, f, o.DryRun)}
	d, err := s.open(ctx, to, f.Mode, f.Quarantine, func(reason string) {
		s.jobs.change(false, func() { one.trouble = "trying again: " + reason })
	})
	if err != nil {
		return s.orAway(err)
	}
	o.Concurrency, one.toRelay = d.concurrency, d.isRelay
	one.what = fmt.Sprintf("From the stream %s to %s.", o.Selection.Stream, to.Name)
	if d.notice != "" {
		one.what += " " + d.notice
	}
	run := func(ctx context.Context, o replay.Options) (replay.Summary, error) {
		defer d.close()
		s.o.Log.Info("a replay begins", "target", to.Name, "stream", o.Selection.Stream, "dryRun", o.DryRun, "command", one.command)
		summary, err := replay.Run(ctx, s.conn(), d.target, o)
		s.o.Log.Info("a replay has ended", "target", to.Name, "delivered", summary.Delivered, "failed", summary.Failed, "skipped", summary.Skipped, "resumeSequence", summary.ResumeSequence, "error", err)
		return summary, err
	}
	if err := s.jobs.start(one, run, o); err != nil {
		d.close()
		return err
	}
	return nil
}

// replayCommand is the command line that does the same. The URL of a target may hold a
// secret, and stands in a variable.
func replayCommand(to config.Target, f replayFields, dryRun bool) string {
	command := "apixo-relay replay" + f.flags()
	if f.Mode != "" {
		command += " --mode " + shellWord(f.Mode)
	}
	if f.Rate != "" {
		command += " --rate " + shellWord(f.Rate)
	}
	if dryRun {
		command += " --dry-run"
	}
	if strings.HasPrefix(to.To, "nats:") {
		return command + " --to " + shellWord(to.To)
	}
	variable := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(to.Name)) + "_URL"
	if variable[0] >= '0' && variable[0] <= '9' {
		variable = "_" + variable
	}
	return command + " --to env:" + variable
}

// statusOfStart is the status of an answer that tells why a replay does not begin.
func statusOfStart(err error) int {
	if _, ok := errors.AsType[unavailableError](err); ok {
		return http.StatusServiceUnavailable
	}
	if errors.Is(err, errBusy) {
		return http.StatusConflict
	}
	return http.StatusBadRequest
}

// stopReplay has the replay under way begin nothing more.
func (s *Server) stopReplay(w http.ResponseWriter, r *http.Request) {
	s.jobs.stop()
	s.awaitJob(r.Context())
	http.Redirect(w, r, "/replay", http.StatusSeeOther)
}

// sendAgain sends one quarantined delivery, or all of a reason, to the relay again.
func (s *Server) sendAgain(w http.ResponseWriter, r *http.Request) {
	f := replayFields{form: form{Quarantine: true}, Mode: replay.ModeWebhook}
	sequence := r.FormValue("seq")
	if sequence != "" {
		f.FromSeq, f.ToSeq = sequence, sequence
	} else {
		f.FromSeq, f.ToSeq, f.Reason = "1", r.FormValue("to-seq"), strings.TrimSpace(r.FormValue("reason"))
	}
	selection, filter, err := f.selection(s.cfg, time.Now())
	if err == nil && sequence == "" && (f.Reason == "" || f.ToSeq == "") {
		err = errors.New("what to send is missing: a sequence, or a reason and up to which sequence")
	}
	if err == nil {
		err = s.checkSendable(r.Context(), selection)
	}
	if err == nil {
		err = s.replay(s.relayTarget(), f, replay.Options{Selection: selection, Filter: filter, MaxFailures: replay.DefaultMaxFailures})
	}
	switch {
	case errors.Is(err, errBusy):
		s.refuse(w, r, http.StatusConflict, "A replay is under way", err.Error())
	case err != nil:
		s.refuse(w, r, statusOfStart(err), "It cannot be sent", err.Error())
	default:
		s.awaitJob(r.Context())
		http.Redirect(w, r, "/replay", http.StatusSeeOther)
	}
}

// checkSendable refuses one sequence at which there is nothing any more.
func (s *Server) checkSendable(ctx context.Context, selection streamreader.Selection) error {
	if selection.FromSeq != selection.ToSeq {
		return nil
	}
	_, err := s.message(ctx, selection.Stream, selection.FromSeq)
	if errors.Is(err, errGone) {
		return errors.New("at sequence " + strconv.FormatUint(selection.FromSeq, 10) + " of the quarantine there is nothing, or not any more")
	}
	return err
}
