// Package reload notices that files have changed.
//
// It looks at their content now and then instead of asking the operating system
// for events: secrets and certificates are often replaced by swapping a symbolic
// link or a whole mounted folder, which events on the file itself do not tell.
package reload

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"os"
	"time"
)

// Interval is how often files are looked at. Each look wakes an idle program up.
const Interval = 2 * time.Second

// Config are files whose content belongs together.
type Config struct {
	// Name they are, for the log.
	Name string
	// Files are their names.
	Files []string
	// Apply reads them and brings what they say into force.
	Apply func() error
	// Reload has them applied whether they have changed or not. It may be nil.
	Reload <-chan struct{}
}

// Watch applies files once, since they may have changed after they were read and before
// they were watched, and then after the content of any of them has changed, until ctx
// ends. When that fails, as it does while a certificate is there and its key is not yet,
// the error is logged and they are applied again after the next change. What is in force
// stays so meanwhile.
func Watch(ctx context.Context, w Config, log *slog.Logger) {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	var last [sha256.Size]byte // of nothing that files can hold
	for first := true; ; first = false {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-w.Reload:
			asked = true
		case <-ticker.C:
		}
		now := fingerprint(w.Files)
		changed := now != last
		if !changed && !asked {
			continue
		}
		last = now
		if err := w.Apply(); err != nil {
			log.Error("a changed file cannot be taken up; what it said before stays in force", "what", w.Name, "error", err)
			continue
		}
		if changed && !first {
			log.Info("took up a changed file", "what", w.Name)
		}
	}
}

// maxFileBytes bounds what is read of a file.
const maxFileBytes = 1 << 20

// fingerprint is a digest of what the files hold; one that cannot be read
// counts as empty.
func fingerprint(files []string) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range files {
		var n int64
		if f, err := os.Open(name); err == nil {
			n, _ = io.Copy(h, io.LimitReader(f, maxFileBytes))
			f.Close()
		}
		h.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), 0xff})
	}
	h.Sum(sum[:0])
	return sum
}
