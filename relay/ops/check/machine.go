package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/descriptors"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
)

const (
	// renewWithin is how long before its end a certificate should have been renewed:
	// those of 90 days are renewed a month before.
	renewWithin = 14 * 24 * time.Hour

	// lowBytes and lowShare are how little free space is worth a warning.
	lowBytes = 1 << 30
	lowShare = 20 // a twentieth of the disk
)

// webhooks looks at where webhooks arrive.
func (x *runner) webhooks() (found checkList) {
	x.senders(&found)
	x.certificate(&found)
	return found
}

// machine looks at what is on this machine.
func (x *runner) machine(ctx context.Context) (found checkList) {
	x.disk(&found)
	x.stores(&found)
	x.descriptors(&found)
	x.tracing(ctx, &found)
	return found
}

// tracing asks the collector to take no spans at all. That it is away costs no
// webhook.
func (x *runner) tracing(ctx context.Context, found *checkList) {
	c := x.cfg.Tracing
	for _, w := range c.Warnings {
		found.warn(Tracing, "correct it, or unset it; webhooks are stored all the same", "%v", w)
	}
	if c.Endpoint == "" {
		if len(c.Warnings) == 0 {
			found.ok(Tracing, "there is none: OTEL_EXPORTER_OTLP_ENDPOINT is not set, or tracing is off")
		}
		return
	}
	c.Timeout = min(c.Timeout, x.timeout)
	if err := telemetry.ProbeCollector(ctx, c); err != nil {
		found.warn(Tracing, "compare with the collector's address and protocol; webhooks are stored all the same, and their spans are lost", "the collector at %s takes no spans: %v", c.Endpoint, err)
		return
	}
	found.ok(Tracing, "the collector at %s takes spans (%s)", c.Endpoint, c.Protocol)
}

// ownClock holds this machine's clock against the time at which the program was made.
func (x *runner) ownClock(found *checkList) {
	if now := x.Now(); now.Before(x.Built) {
		found.fail(Clock, "set it, and let it be kept right (NTP)", "this machine's clock says %s, which is before this program was built (%s): events are stored as long past, and are gone when the broker restarts",
			now.UTC().Format(time.RFC3339), x.Built.UTC().Format(time.RFC3339))
	}
}

// senders tells who can send webhooks, and whom the relay believes about that.
func (x *runner) senders(found *checkList) {
	w := x.cfg.Webhooks
	addr, proxies := w.ListenAddr, ""
	if w.ProxyProtocol {
		proxies = "; the PROXY protocol is taken from RELAY_TRUSTED_PROXIES"
	}
	switch {
	case len(w.Tokens) == 1:
		found.ok(Senders, "who sends to %s has to bring the token%s", addr, proxies)
	case len(w.Tokens) > 1:
		found.ok(Senders, "who sends to %s has to bring one of %d tokens%s", addr, len(w.Tokens), proxies)
	case w.TLSClientCAFile != "":
		found.ok(Senders, "who sends to %s has to show a client certificate%s", addr, proxies)
	case !x.cfg.OthersCanSend() && !w.AllowUnauthenticated:
		found.ok(Senders, "no token is asked for; %s can be reached from this machine only, by its own names%s", addr, proxies)
	case len(w.AllowedCIDRs) > 0:
		found.warn(Senders, "set RELAY_WEBHOOK_TOKENS (make one with 'openssl rand -hex 16')",
			"no token is asked for at %s: whoever is in RELAY_ALLOWED_CIDRS can send what looks like a result%s", addr, proxies)
	default:
		found.warn(Senders, "set RELAY_WEBHOOK_TOKENS (make one with 'openssl rand -hex 16')",
			"no token is asked for at %s: whoever reaches it can send what looks like a result%s", addr, proxies)
	}
}

// certificate looks at the files with which the relay speaks HTTPS itself.
func (x *runner) certificate(found *checkList) {
	w := x.cfg.Webhooks
	if w.TLSCertFile == "" {
		found.ok(Certificate, "the relay speaks HTTP; a proxy before it has to make HTTPS of that")
		return
	}
	pair, err := tls.LoadX509KeyPair(w.TLSCertFile, w.TLSKeyFile)
	if err != nil {
		found.fail(Certificate, "name a certificate in PEM form and the key that belongs to it", "RELAY_TLS_CERT_FILE=%s and RELAY_TLS_KEY_FILE=%s cannot be used: %v", w.TLSCertFile, w.TLSKeyFile, err)
		return
	}
	if w.TLSClientCAFile != "" {
		if err := tlsfiles.AddCertificates(x509.NewCertPool(), w.TLSClientCAFile); err != nil {
			found.fail(Certificate, "name a file with the authorities of the senders' certificates", "RELAY_TLS_CLIENT_CA_FILE: %v", err)
			return
		}
	}
	const renew = "renew it; the relay takes up a changed file without a restart"
	now := x.Now()
	from, until := pair.Leaf.NotBefore, pair.Leaf.NotAfter
	switch left := until.Sub(now); {
	case now.Before(from):
		found.fail(Certificate, "look at this machine's clock, or wait", "%s is not valid before %s", w.TLSCertFile, from.Format(time.RFC3339))
	case left <= 0:
		found.fail(Certificate, renew, "%s has not been valid since %s", w.TLSCertFile, until.Format(time.RFC3339))
	case left < renewWithin:
		found.warn(Certificate, renew, "%s is valid until %s, for %s more", w.TLSCertFile, until.Format(time.RFC3339), days(left))
	default:
		found.ok(Certificate, "%s is valid until %s, for %s more", w.TLSCertFile, until.Format(time.RFC3339), days(left))
	}
}

// days writes a duration of days or hours.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// disk checks the free space for an embedded broker's store, and for the outbox.
func (x *runner) disk(found *checkList) {
	dir := x.cfg.Embedded.DataDir
	if !x.cfg.UsesEmbedded() && !x.cfg.Outbox.Enabled {
		found.ok(Disk, "nothing is stored on this machine: the broker is elsewhere, and RELAY_OUTBOX is not on")
		return
	}
	if _, err := os.Stat(dir); err != nil {
		why := err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			why = fmt.Sprintf("there is no folder RELAY_DATA_DIR=%s here yet, or the relay runs elsewhere", dir)
		}
		found.skip(why, Disk)
		return
	}
	free, total, err := broker.DiskUsage(dir)
	if err != nil {
		found.skip(err.Error(), Disk)
		return
	}
	outbox := int64(0) // what it may still grow by
	if x.cfg.Outbox.Enabled {
		outbox = max(0, x.cfg.Outbox.CapacityBytes-folderSize(filepath.Join(dir, broker.OutboxFolder)))
	}
	fact := fmt.Sprintf("%s of %s are free at RELAY_DATA_DIR=%s", size(free), size(total), dir)
	switch {
	case free < broker.MinFreeBytes:
		found.fail(Disk, "make room there: webhooks get 503", "%s; the relay stops storing under %s", fact, size(uint64(broker.MinFreeBytes)))
	case outbox > 0 && uint64(outbox) > free-broker.MinFreeBytes:
		found.fail(Disk, "make room there, or lower RELAY_OUTBOX_MAX_BYTES", "%s, and the outbox may grow by %s more", fact, size(outbox))
	case free < lowBytes || free < total/lowShare:
		found.warn(Disk, "make room there before it is full: then webhooks get 503", "%s", fact)
	default:
		found.ok(Disk, "%s", fact)
	}
}

// descriptors tells how the connections of a relay are bounded that is started as this
// command was.
func (x *runner) descriptors(found *checkList) {
	shares := descriptors.ForConfig(x.cfg)
	if shares.IsLow() {
		found.warn(Descriptors, "raise it where many connect: ulimit -n, or LimitNOFILE in a unit of systemd", "a process that is started from here may have few: %s", shares)
		return
	}
	found.ok(Descriptors, "a process that is started from here may have enough: %s", shares)
}

// folderSize is the size of the files in a folder, as far as they can be seen.
func folderSize(dir string) (bytes int64) {
	// What cannot be seen, or goes away meanwhile, counts as nothing.
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}
