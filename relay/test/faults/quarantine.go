package faults

import "github.com/apixo-relay/apixo-relay/relay/test/rig"

const quarantine = "APIXO_QUARANTINE"

// keptBodies are those that have to be in the quarantine.
type keptBodies map[rig.Digest]place

// place is where a body has to be in the quarantine.
type place struct {
	subject, task string
	// twofold: it was refused for its headers and, without them, contradicts what is
	// stored. It is kept once, for what came first.
	twofold bool
}

func (k keptBodies) note(body string, p place) {
	digest := rig.DigestOf(body)
	if other, ok := k[digest]; ok && other != p {
		p.twofold = true
	}
	k[digest] = p
}

// rejected notes a body that is no webhook.
func (k keptBodies) rejected(body string) {
	k.note(body, place{subject: "apixo.quarantine.rejected"})
}

// notConfirmed notes a webhook of a task that the status API contradicts.
func (k keptBodies) notConfirmed(body, task string) {
	k.note(body, place{subject: "apixo.quarantine.rejected", task: task})
}

// conflict notes one that contradicts what is stored of its task.
func (k keptBodies) conflict(body, task string) {
	k.note(body, place{subject: "apixo.quarantine.conflict", task: task})
}

// quarantineHolds reads the quarantine: it has to hold these bodies, each once,
// and nothing else.
func (t *trial) quarantineHolds(url string, bodies keptBodies) {
	kept, err := rig.Quarantine(t.ctx, url, quarantine)
	t.must(err)
	seen := make(map[rig.Digest]bool)
	for _, k := range kept {
		want, ok := bodies[k.Digest]
		switch {
		case !ok:
			t.fail("the quarantine holds at %d what should not be there, or as it did not come: %q", k.Sequence, k.Start)
		case seen[k.Digest]:
			t.fail("the quarantine holds twice, at last at %d: %q", k.Sequence, k.Start)
		case want.twofold:
		case k.Subject != want.subject || k.Task != want.task:
			t.fail("the quarantine holds at %d, under %s for the task %q, what belongs to %s and %q", k.Sequence, k.Subject, k.Task, want.subject, want.task)
		}
		seen[k.Digest] = true
	}
	if missing := len(bodies) - len(seen); missing > 0 {
		t.fail("%d of %d bodies are not in the quarantine", missing, len(bodies))
	}
}
