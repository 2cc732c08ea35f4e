package check

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/apixo-relay/apixo-relay/relay/broker"
)

// stores tells which versions of the relay can open the stores in RELAY_DATA_DIR.
func (x *runner) stores(found *checkList) {
	all := broker.Stores(x.cfg.Embedded.DataDir)
	if len(all) == 0 {
		found.ok(Store, "there is none in RELAY_DATA_DIR=%s", x.cfg.Embedded.DataDir)
	}
	for _, s := range all {
		used := x.cfg.UsesEmbedded()
		if s.Outbox {
			used = x.cfg.Outbox.Enabled
		}
		if !used {
			found.ok(Store, "%s is left as it is: nothing is stored there with these settings", s.Dir)
			continue
		}
		x.store(s, found)
	}
}

// store tells which versions of the relay can open a store that is used.
func (x *runner) store(s broker.Store, found *checkList) {
	newer, isNewer := errors.AsType[*broker.NewerStoreError](s.Err)
	if isNewer {
		loses := strings.Join(newer.Loses, ", and ")
		switch run := "run " + newer.Store.Program + " or a later version"; {
		case loses == "":
			found.fail(Store, run+", or set RELAY_DATA_DIR to another folder", "%s was opened last by %s, in a format that this version cannot read", s.Dir, newer.Store.Program)
		case x.cfg.Embedded.AllowDowngrade:
			found.warn(Store, "unset RELAY_ALLOW_DOWNGRADE once the relay has started", "%s was opened last by %s; this version loses %s", s.Dir, newer.Store.Program, loses)
		default:
			found.fail(Store, run+"; or, if that may be lost, set RELAY_ALLOW_DOWNGRADE=true for one start", "%s was opened last by %s, and this older version would lose %s", s.Dir, newer.Store.Program, loses)
		}
		return
	}
	switch {
	case errors.Is(s.Err, fs.ErrPermission):
		// Who runs this may be another user than the relay.
		found.warn(Store, "run this as the relay's user; it has to be able to read that file", "%v", s.Err)
	case s.Err != nil:
		found.fail(Store, "see what that file is; the relay does not start", "%v", s.Err)
	case s.Version == nil:
		found.ok(Store, "%s is of a version before v1.0.0, which any version opens", s.Dir)
	case s.ShutsOutFormer():
		found.warn(Store, "stop the relay and copy the folder first, if you may want to go back", "%s was opened last by %s with nats-server %s; once this version (with nats-server %s) has opened it, that one does no more, unless it may lose something",
			s.Dir, s.Version.Program, s.Version.Server, server.VERSION)
	default:
		found.ok(Store, "%s is in format %d, opened last by %s with nats-server %s", s.Dir, s.Version.Format, s.Version.Program, s.Version.Server)
	}
}
