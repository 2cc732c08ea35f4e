package broker

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/time/rate"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

const (
	// guardOwn is how much of the heap, in bytes, is the program's and not its clients',
	// apart from webhooks in flight.
	guardOwn = config.ProgramMemory / 2
	// guardShare is the part of [config.Config.EmbeddedMemory] that may be in use before
	// clients are disconnected. The rest is for how far the heap grows until that has
	// ended what they asked for.
	guardShare = 16
	// guardMessages is how many messages may be queued for clients whatever they are: half
	// of what a pull asks for by default. With fewer, it is not their pulls that take the
	// memory.
	guardMessages = 250
	// guardStay is for how long so many have to be queued before it is taken for more than
	// the pulls of somebody who reads.
	guardStay = 3 * guardTick
	// guardTick is between two looks at a heap that is large: it can grow by 2 GB/s.
	guardTick = 20 * time.Millisecond
	// guardPause is the least between two collections that the guard asks for.
	guardPause = 100 * time.Millisecond
	// guardUrgent is with how many times the share in use nobody waits for a collection to
	// tell what of it is garbage: on a busy machine one can take a second.
	guardUrgent = guardShare / 4
	// guardPatience is how long it takes at most until the queue of clients that were
	// disconnected has been dropped.
	guardPatience = time.Second
	// guardLogInterval is between two lines that say that clients are disconnected.
	guardLogInterval = 20 * time.Second
)

// memoryGuard disconnects clients of an embedded server that have it read more from its
// streams than there is memory for. The server reads all that pulls ask for into a
// queue for each stream, which has no bound, and knows only behind that how much of it
// a client takes. Nothing is lost: consumers come again and get the rest.
//
// It goes by the heap, since nothing tells how large the queues are, only how long.
type memoryGuard struct {
	server *server.Server
	door   clientLimit
	log    *slog.Logger
	// own is what the program may have in use, budget what clients may, and inFlight what
	// webhooks have, in bytes.
	own      int64
	budget   int64
	inFlight func() int64
	heap     []metrics.Sample

	quiet  int64     // what was in use beside webhooks and clients when little was queued, in bytes
	judged uint64    // the last collection that was judged
	long   uint64    // the last collection after which more was queued
	since  time.Time // when a queue was found long that was short before; zero while it is short
	asked  time.Time // when a collection was last asked for
	closed bool      // nobody is let in until the queue has been dropped
	cut    time.Time // when clients were last disconnected; zero once that has helped
	cutAt  int64     // what was in use then, in bytes
	logged *rate.Limiter

	busy       atomic.Bool // a collection that was asked for goes on
	collecting sync.WaitGroup
}

// The samples of guard.heap.
const (
	heapLive    = iota // in use at the last collection, in bytes
	heapObjects        // in use now, or garbage, in bytes
	heapCycles         // collections
)

func newMemoryGuard(d clientLimit, budget int64, inFlight func() int64, log *slog.Logger) *memoryGuard {
	return &memoryGuard{
		server: d.server, door: d, log: log, own: guardOwn, budget: budget,
		inFlight: func() int64 { return config.BodyCopies * inFlight() },
		heap:     []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}},
		logged:   rate.NewLimiter(rate.Every(guardLogInterval), 1),
	}
}

// run guards until ctx ends. While the heap is small it waits for the next collection;
// a heap that grows has those.
func (g *memoryGuard) run(ctx context.Context) {
	defer g.collecting.Wait()
	collected := make(chan struct{}, 1)
	afterCollections(ctx, collected)
	ticker := time.NewTicker(guardTick)
	ticker.Stop()
	for looking := false; ; {
		select {
		case <-ctx.Done():
			ticker.Stop()
			return
		case <-collected:
		case <-ticker.C:
		}
		g.check()
		if large := g.closed || g.read(heapObjects) > g.allowed()/2; large != looking {
			if looking = large; large {
				ticker.Reset(guardTick)
			} else {
				ticker.Stop()
			}
		}
	}
}

// afterCollections tells of each garbage collection, until ctx ends.
func afterCollections(ctx context.Context, collected chan<- struct{}) {
	runtime.AddCleanup(new([16]byte), func(collected chan<- struct{}) {
		if ctx.Err() != nil {
			return
		}
		select {
		case collected <- struct{}{}:
		default:
		}
		afterCollections(ctx, collected)
	}, collected)
}

// read is one of the samples, without what webhooks in flight may have of it.
func (g *memoryGuard) read(sample int) int64 {
	metrics.Read(g.heap[sample : sample+1])
	return int64(g.heap[sample].Value.Uint64()) - g.inFlight()
}

// cycle is how many collections there have been.
func (g *memoryGuard) cycle() uint64 {
	metrics.Read(g.heap[heapCycles:])
	return g.heap[heapCycles].Value.Uint64()
}

// allowed is how much may be in use beside webhooks, in bytes. Ids that the broker
// remembers are no part of the bound, and nobody is disconnected for them.
func (g *memoryGuard) allowed() int64 { return max(g.own, g.quiet) + g.budget }

// garbage is how much the collector may leave besides, in bytes: as much as stays in use,
// where that is much.
func (g *memoryGuard) garbage() int64 { return max(0, g.quiet-g.own) }

// check disconnects clients if too much is in use.
func (g *memoryGuard) check() {
	switch long := g.queued() >= guardMessages; {
	case !long:
		g.since = time.Time{}
	case g.since.IsZero():
		g.since = time.Now()
	}
	if cycle := g.cycle(); cycle != g.judged {
		g.judged = cycle
		g.judge()
	}
	objects := g.read(heapObjects) - g.garbage()
	if objects <= g.allowed() && !g.closed {
		return
	}
	switch {
	case g.closed && g.since.IsZero():
		g.closed = false
	case g.closed:
		g.end(g.door.others())
		return
	case g.since.IsZero():
		return
	case objects > g.allowed()+guardUrgent*g.budget:
		g.closeClient(g.door.others(), objects)
	}
	g.collect()
}

// isLasting tells whether a queue has been long for a while. That of clients who read is now
// and then short, and with that what was in it has been passed on.
func (g *memoryGuard) isLasting() bool { return !g.since.IsZero() && time.Since(g.since) >= guardStay }

// collect has garbage collected, since only that can tell whether too much is in use. By
// the collector's own rule the heap would grow to twice of that.
func (g *memoryGuard) collect() {
	if time.Since(g.asked) < guardPause || !g.busy.CompareAndSwap(false, true) {
		return
	}
	g.asked = time.Now()
	g.collecting.Go(func() {
		runtime.GC() // it also waits for the sweep, which takes long where others work
		g.busy.Store(false)
	})
}

// judge disconnects clients if too much was in use at the last collection.
func (g *memoryGuard) judge() {
	live, cycle, clients := g.read(heapLive), g.cycle(), g.door.others()
	rest := live
	for _, c := range clients {
		rest -= int64(c.Pending)
	}
	g.quiet = min(g.quiet, live+g.inFlight())
	switch long := g.queued() >= guardMessages; {
	case long:
		g.long = cycle
		if live > g.allowed() && g.isLasting() {
			g.disconnect(clients, live)
		}
	default:
		g.cut = time.Time{}
		// The next collection may have begun with what was queued until now.
		if cycle > g.long+1 {
			g.quiet = rest
		}
	}
}

// queued is how many messages the server has read for clients, and not yet passed on.
func (g *memoryGuard) queued() (n int) {
	for _, q := range *g.server.Ipqueuesz(&server.IpqueueszOptions{Filter: "' sendQ"}) {
		n += q.Pending + q.InProgress
	}
	return n
}

// disconnect ends the connections of those for whom something waits. If that has not
// helped it ends all, who may be reading too slowly for the server to see.
func (g *memoryGuard) disconnect(clients []*server.ConnInfo, live int64) {
	if !g.cut.IsZero() && live < g.cutAt+g.budget/4 && time.Since(g.cut) < guardPatience {
		return // the queue may be being dropped
	}
	waiting := slices.DeleteFunc(slices.Clone(clients), func(c *server.ConnInfo) bool { return c.Pending == 0 })
	if !g.cut.IsZero() || len(waiting) == 0 {
		g.closeClient(clients, live)
		return
	}
	g.logDisconnected(waiting, live)
	g.end(waiting)
}

// closeClient ends all connections, and lets nobody in again before the queue has been dropped.
func (g *memoryGuard) closeClient(clients []*server.ConnInfo, used int64) {
	g.closed = true
	g.logDisconnected(clients, used)
	g.end(clients)
}

// end ends connections.
func (g *memoryGuard) end(clients []*server.ConnInfo) {
	for _, c := range clients {
		_ = g.server.DisconnectClientByID(c.Cid) // it may have gone by itself
	}
}

// logDisconnected notes and logs that clients are disconnected, and for whom of them most waits.
func (g *memoryGuard) logDisconnected(clients []*server.ConnInfo, used int64) {
	g.cut, g.cutAt = time.Now(), used
	if len(clients) == 0 || !g.logged.Allow() {
		return
	}
	most := slices.MaxFunc(clients, func(a, b *server.ConnInfo) int { return cmp.Compare(a.Pending, b.Pending) })
	g.log.Warn("clients of the embedded broker were disconnected: they have asked for more than there is memory for, and do not read it",
		"clients", len(clients), "client", net.JoinHostPort(most.IP, strconv.Itoa(most.Port)), "name", most.Name, "waiting", most.Pending, "heap", used,
		"do", "have consumers ask for fewer messages at once, or by size (PullMaxBytes), and read them; ask for a password if strangers connect (NATS_TOKEN)")
}
