package publisher

import (
	"context"
	"math"
)

// SendOnly makes a publisher send, and not look at the streams.
func (p *Publisher) SendOnly() {
	for _, m := range []*streamWatcher{p.events, p.quarantine} {
		m.checkedChanges.Store(math.MaxUint64)
	}
}

// Look looks at the streams, once, and returns why the events cannot be read, if so.
func (p *Publisher) Look(ctx context.Context) (unreadable error) {
	_ = p.checkStreams(ctx, true)
	return p.streams.Load().unreadable
}

// JudgedFields are the fields of a stream's configuration at which rules look.
func JudgedFields() map[string]bool {
	judged := make(map[string]bool)
	for _, r := range rules {
		for _, field := range r.fields {
			judged[field] = true
		}
	}
	delete(judged, "") // rules that look elsewhere
	return judged
}
