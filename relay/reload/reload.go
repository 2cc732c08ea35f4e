// Package reload notices that files have changed.
//
// Secrets and certificates are replaced in many ways: written in place, renamed over, or
// by swapping a symbolic link or a whole folder that they lie in. So the operating system
// is asked for events of the files, of their folders and of those of each symbolic link on
// the way to them, and only the content decides whether something has changed.
package reload

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"os"
	"time"
)

const (
	// slow is how often files are looked at besides: network file systems do not tell what
	// others write, nor does anything that a file system is mounted over a folder.
	slow = time.Minute
	// often is how often they are looked at where one is not there, or where the
	// operating system gives no events: their number is limited, for each user.
	often = time.Second
	// settle is how long what follows an event is waited for: few changes are one step.
	settle = 200 * time.Millisecond
)

// Watched are files whose content belongs together.
type Watched struct {
	// What they are, for the log.
	What string
	// Files are their names.
	Files []string
	// Apply reads them and brings what they say into force.
	Apply func() error
	// Again has them applied whether they have changed or not. It may be nil.
	Again <-chan struct{}
}

// Watch applies files once, since they may have changed after they were read and before
// they were watched, and then after the content of any of them has changed, until ctx
// ends. When that fails, as it does while a certificate is there and its key is not yet,
// the error is logged and they are applied again after the next change. What is in force
// stays so meanwhile.
func Watch(ctx context.Context, w Watched, log *slog.Logger) {
	var events events
	defer events.close()
	var last [sha256.Size]byte // of nothing that files can hold
	for first, asked := true, false; ; first = false {
		next := often
		if events.follow(w.Files) {
			next = slow
		}
		now := fingerprint(w.Files)
		if changed := now != last; changed || asked {
			last = now
			if err := w.Apply(); err != nil {
				log.Error("a changed file cannot be taken up; what it said before stays in force", "what", w.What, "error", err)
			} else if changed && !first {
				log.Info("took up a changed file", "what", w.What)
			}
		}
		if asked = events.await(ctx, next, w.Again); ctx.Err() != nil {
			return
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
