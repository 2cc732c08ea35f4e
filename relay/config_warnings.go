package relay

import "slices"

// logConfigWarnings tells the log, a line each, what of the environment is used otherwise
// than it is written, looks strange, or means nothing.
func (r *Relay) logConfigWarnings() {
	for _, w := range slices.Concat(r.cfg.Warnings, r.cfg.Tracing.Warnings) {
		log := r.log.With("variable", w.Variable)
		if !w.Secret {
			log = log.With("value", w.Value)
		}
		log.Warn("a setting looks wrong", "problem", w.Problem, "instead", w.Instead)
	}
	for _, name := range r.cfg.Unknown {
		r.log.Warn("this variable means nothing to the relay: is it mistyped, or of another version?", "variable", name)
	}
}
