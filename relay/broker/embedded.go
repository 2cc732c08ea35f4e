package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/descriptors"
	"github.com/apixo-relay/apixo-relay/relay/durable"
)

// embedded is a NATS server in this process, with its store in a folder that
// is locked against other relays.
type embedded struct {
	server *server.Server
	lock   *flock.Flock
	url    string
	// durable fsyncs what the server acknowledges; nil where that is left to a timer.
	durable *durable.Store
	files   *storeFiles
	door    clientLimit

	watching context.Context // ends when the server is to end
	unwatch  context.CancelFunc
	watchers sync.WaitGroup // of the door, and of the memory
}

// startEmbedded runs a server whose store is in the folder of the settings, or in a folder of
// that, and locks the folder against other relays meanwhile. Version is the relay's.
func startEmbedded(ctx context.Context, settings config.Embedded, version string, options *server.Options, log *slog.Logger) (_ *embedded, err error) {
	folder := settings.DataDir
	// Before anything is touched, the lock not excepted.
	if _, err := checkStore(options.StoreDir, settings.AllowDowngrade); err != nil {
		return nil, err
	}
	lock, err := lockFolder(folder)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Unlock())
		}
	}()
	if err := durable.MakeFolder(options.StoreDir); err != nil {
		return nil, fmt.Errorf("the folder of the embedded broker cannot be made: %w; RELAY_DATA_DIR has to be one that this user may write", err)
	}
	// Again, since another relay may have opened it until the lock was this one's.
	lossy, err := checkStore(options.StoreDir, settings.AllowDowngrade)
	if err != nil {
		return nil, err
	}
	if !options.DontListen {
		// The server would find the port taken too, but only after it has recovered
		// the store.
		if err := probe(net.JoinHostPort(options.Host, strconv.Itoa(max(0, options.Port)))); err != nil {
			return nil, err
		}
	}
	if lossy != nil {
		log.Warn("a newer version has written the store; what this one does not know is lost, as RELAY_ALLOW_DOWNGRADE has it", "store", lossy.Dir, "version", lossy.Store.Program, "lost", strings.Join(lossy.Loses, ", and "))
	}
	if err := claimStore(options.StoreDir, version, log); err != nil {
		return nil, err
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("the embedded broker cannot be configured: %w", err)
	}
	logger := newServerLog(log, options.MaxConn)
	s.SetLoggerV2(logger, log.Enabled(ctx, slog.LevelDebug), false, false)
	started := make(chan struct{})
	go func() {
		defer close(started)
		s.Start()
	}()
	// It is back when the server listens, mostly within 2 ms. To ask whether it is
	// ready before that is to wait for 25 ms.
	select {
	case <-started:
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
	for !s.ReadyForConnections(time.Second) {
		select {
		case why := <-logger.fatal:
			err = fmt.Errorf("the embedded broker cannot start: %s", why)
		case <-ctx.Done():
			err = fmt.Errorf("the embedded broker was not ready yet: %w", context.Cause(ctx))
		default:
			continue // a large store takes its time to recover
		}
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	e := &embedded{server: s, lock: lock, door: clientLimit{s, options.MaxConn}}
	if e.files, err = newStoreFiles(s, options.StoreDir, lock); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	if options.SyncAlways {
		e.durable = durable.New(options.StoreDir, s, log)
	}
	if !options.DontListen {
		e.url = s.ClientURL()
		if err := setBacklog(s.Addr(), queued); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			log.Warn("a flood of connections to the embedded broker can use up this process's descriptors", "error", err)
		}
	}
	e.watching, e.unwatch = context.WithCancel(context.Background())
	e.watchers.Go(func() { e.door.watch(e.watching, logger.refused) })
	return e, nil
}

// embeddedOptions are those of the broker that takes the place of an external one.
func embeddedOptions(cfg config.Config) (*server.Options, error) {
	options, err := localOptions(cfg, cfg.Embedded.DataDir)
	if err != nil {
		return nil, err
	}
	host, portText, err := net.SplitHostPort(cfg.Embedded.Addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, err
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if host == "" {
		host = server.DEFAULT_HOST
	}
	options.Host, options.Port = host, port
	options.MaxConn = descriptors.ForConfig(cfg).Broker + ownConnections
	options.PingInterval, options.MaxPingsOut = stalePing, stalePings
	options.SyncAlways = cfg.Embedded.Sync == config.SyncAlways
	if err := limitClients(cfg, options); err != nil {
		return nil, err
	}
	options.Username, options.Password, options.Authorization = cfg.NATS.User, cfg.NATS.Password, cfg.NATS.Token
	return options, nil
}

// outboxOptions are those of the server behind the outbox, which nobody outside
// this process reaches.
func outboxOptions(cfg config.Config) (*server.Options, error) {
	// A folder of its own, since the same data folder may hold the store of the
	// time before there was an external broker.
	options, err := localOptions(cfg, filepath.Join(cfg.Embedded.DataDir, OutboxFolder))
	if err != nil {
		return nil, err
	}
	options.DontListen = true
	options.SyncAlways = true
	// The stream has its limit; the server's own would be three quarters of the
	// disk as it is now.
	options.JetStreamMaxStore = math.MaxInt64 / 2
	return options, nil
}

// OutboxFolder is the name of the outbox's folder in RELAY_DATA_DIR.
const OutboxFolder = "outbox"

func localOptions(cfg config.Config, dir string) (*server.Options, error) {
	// An empty StoreDir would mean the temporary folder.
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("RELAY_DATA_DIR=%q cannot be made absolute: %w", cfg.Embedded.DataDir, err)
	}
	maxPayload := max(int64(server.MAX_PAYLOAD_SIZE), MaxMessageBytes(cfg.Webhooks.MaxBodyBytes))
	return &server.Options{
		ServerName: "apixo-relay",
		JetStream:  true,
		StoreDir:   dir,
		MaxPayload: int32(maxPayload),
		MaxPending: max(server.MAX_PENDING_SIZE, 4*maxPayload),

		NoSigs:                 true, // signals are this process's, not the server's
		DisableJetStreamBanner: true,
	}, nil
}

// lockFolder makes the folder and takes its lock, which the operating system
// frees when the process ends, however it ends.
func lockFolder(dir string) (*flock.Flock, error) {
	if err := durable.MakeFolder(dir); err != nil {
		return nil, fmt.Errorf("RELAY_DATA_DIR=%q cannot be made: %w; name a folder that this user may write", dir, err)
	}
	lock := flock.New(filepath.Join(dir, "relay.lock"))
	locked, err := lock.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("RELAY_DATA_DIR=%q cannot be locked: %w; name a folder that this user may write", dir, err)
	case !locked:
		return nil, fmt.Errorf("RELAY_DATA_DIR=%q is in use by another relay; stop that one, or give this one a folder of its own", dir)
	}
	return lock, nil
}

// probe finds out whether an address is free.
func probe(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("RELAY_EMBEDDED_ADDR=%s is taken by another program; if that is a NATS server with JetStream, use it with NATS_URL=nats://%[1]s, and if not, choose another address, for instance RELAY_EMBEDDED_ADDR=%s", addr, nextPort(addr))
	}
	return fmt.Errorf("RELAY_EMBEDDED_ADDR=%s cannot be listened on: %w; choose another address", addr, err)
}

// nextPort is the address one port further on.
func nextPort(addr string) string {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port >= 65535 {
		return net.JoinHostPort(host, "0")
	}
	return net.JoinHostPort(host, strconv.Itoa(port+1))
}

// commit returns when what a stream has acknowledged is there for good.
func (e *embedded) commit(ctx context.Context, stream string) error {
	if e.durable != nil {
		if err := e.durable.Commit(ctx, stream); err != nil {
			return err
		}
	}
	return e.files.check(stream)
}

// health looks at the files, and asks the server what its own monitoring would say.
func (e *embedded) health() error {
	if e.durable != nil {
		if err := e.durable.Health(); err != nil {
			return err
		}
	}
	if err := e.files.checkAll(); err != nil {
		return err
	}
	// A stream that is being deleted is for a moment one that could not be recovered.
	var err error
	for range refreshTries {
		if err = e.status(); err == nil {
			return nil
		}
		time.Sleep(refreshPause)
	}
	return err
}

// status is what the server's own monitoring would say.
func (e *embedded) status() error {
	status := e.server.Healthz(&server.HealthzOptions{Details: true})
	if status == nil || status.StatusCode == 0 || status.StatusCode == 200 {
		return nil
	}
	for _, found := range status.Errors {
		if found.Type != server.HealthzErrorStream || e.files.hasMeta(found.Stream) {
			return fmt.Errorf("the embedded broker is not healthy: %s", found.Error)
		}
	}
	return nil
}

func (e *embedded) guard(g *memoryGuard) {
	e.watchers.Go(func() { g.run(e.watching) })
}

func (e *embedded) stop() error {
	e.unwatch()
	e.watchers.Wait()
	e.server.Shutdown()
	e.server.WaitForShutdown()
	if e.durable != nil {
		e.durable.Close()
	}
	if err := e.lock.Unlock(); err != nil {
		return fmt.Errorf("the lock of the data folder cannot be freed: %w", err)
	}
	return nil
}
