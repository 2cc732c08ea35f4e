// Package descriptors divides what this process may have open, files and connections
// together, between those that need it: so that nobody who opens connections to one of
// its ports takes them from another port, or from the store. A store that cannot open
// a file is broken until the process ends.
//
// It must not know what the connections are for.
package descriptors

import (
	"fmt"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

const (
	// reserve is for what is no connection from outside: the files of an embedded store
	// and of the outbox, the log, name servers, the external broker, the collector.
	// A relay with a store of two streams has some 30 of them open. The rest is room
	// for the connections that the embedded broker accepts before it refuses them,
	// which it does beside each other. A process that has few descriptors keeps half.
	reserve = 256
	// adminShare and mostAdmin are for probes and scrapers, of which there are few.
	adminShare, mostAdmin = 16, 64
	// brokerShare and mostBroker are for clients of the embedded broker. Each can make
	// the broker keep what it does not read, so that their number bounds memory too.
	brokerShare, mostBroker = 4, config.EmbeddedConnections

	// lowLimit is a limit under which somebody should know of the shares: it is the usual
	// one of shells and of old service managers.
	lowLimit = 1024
)

// Shares are how many descriptors everybody has.
type Shares struct {
	// Limit is what this process may have open. It is large where there is no limit.
	Limit int
	// Reserve is for everything that is no connection from outside.
	Reserve int
	// Webhooks, Admin and Broker are the most connections at once that the webhook
	// endpoint, the admin endpoint and the embedded broker take. They are 0 for what
	// there is not.
	Webhooks, Admin, Broker int
}

// ForConfig are the shares in this process's limit as it is now, for the listeners that a
// configuration has.
func ForConfig(cfg config.Config) Shares {
	s := divide(limit(), cfg.Admin.Addr != "", cfg.UsesEmbedded())
	s.Webhooks = min(s.Webhooks, cfg.Webhooks.MaxConnections())
	return s
}

func divide(limit int, admin, broker bool) Shares {
	s := Shares{Limit: limit, Reserve: min(reserve, limit/2)}
	rest := limit - s.Reserve
	if admin {
		s.Admin = min(max(rest/adminShare, 1), mostAdmin)
	}
	if broker {
		s.Broker = min(max(rest/brokerShare, 1), mostBroker)
	}
	s.Webhooks = max(rest-s.Admin-s.Broker, 1)
	return s
}

// IsLow reports whether the limit is so small that an operator should know of it.
func (s Shares) IsLow() bool { return s.Limit < lowLimit }

// String tells the shares in a sentence.
func (s Shares) String() string {
	text := fmt.Sprintf("of %d descriptors %d are for webhooks", s.Limit, s.Webhooks)
	if s.Admin > 0 {
		text += fmt.Sprintf(", %d for the admin endpoint", s.Admin)
	}
	if s.Broker > 0 {
		text += fmt.Sprintf(", %d for clients of the embedded broker", s.Broker)
	}
	return text + fmt.Sprintf(", and %d for files and everything else", s.Reserve)
}
