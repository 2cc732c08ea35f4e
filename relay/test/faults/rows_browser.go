package faults

import "github.com/apixo-relay/apixo-relay/relay/test/hostile"

// browserRows are what browsers send for web pages.
var browserRows = []Row{
	{
		Name: "web-pages", Fault: "web pages that post to a relay that asks nobody for a token",
		Injected: "requests as browsers send them for pages of other sites, and for pages whose names have been bound to this machine, each on a connection of its own, beside good webhooks; each answer is held against what is due",
		run: func(t *trial) {
			r := t.embedded(hostile.OpenEnviron()...)
			holdAgainst(t, r, r.Sender, hostile.NewOpen().Cases)
		},
	},
}
