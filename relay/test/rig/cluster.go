package rig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Cluster is several servers that store together.
type Cluster struct {
	Servers []*Server

	between map[[2]*Server]*Proxy // from one to another; see [Rig.NewDivisibleCluster]
}

// NewCluster makes n servers, which [Cluster.Start] starts. The configuration is
// each server's, and includes [JetStream].
func (r *Rig) NewCluster(n int, config string) (*Cluster, error) {
	c, listen, err := r.newCluster(n)
	if err != nil {
		return nil, err
	}
	for i, s := range c.Servers {
		if err := s.join(listen[i], "", listen, config); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// newCluster makes servers that do not know of each other yet, and the addresses
// where they listen for each other.
func (r *Rig) newCluster(n int) (c *Cluster, listen []string, err error) {
	c = &Cluster{}
	for i := range n {
		s, err := r.newServer(fmt.Sprintf("nats-%d", i+1))
		if err != nil {
			return nil, nil, err
		}
		port, err := r.freePort()
		if err != nil {
			return nil, nil, err
		}
		c.Servers = append(c.Servers, s)
		listen = append(listen, loopback(port))
	}
	return c, listen, nil
}

// join makes a server one of a cluster, and writes its configuration.
func (s *Server) join(listen, more string, routes []string, config string) error {
	s.fixed += fmt.Sprintf("cluster { name: rig, listen: %q, %sroutes: [nats://%s] }\n", listen, more, strings.Join(routes, ", nats://"))
	return s.write(config)
}

// Start starts some of the cluster's servers, or all of them, and returns when
// each knows of a leader of the cluster.
func (c *Cluster) Start(ctx context.Context, servers ...*Server) error {
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() {
			errs[i] = s.Start(ctx)
			if errs[i] == nil {
				errs[i] = s.AwaitText(ctx, "metadata leader")
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// URL is that of all servers, comma-separated.
func (c *Cluster) URL() string {
	urls := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		urls[i] = s.URL()
	}
	return strings.Join(urls, ",")
}

// leaderPause is between two looks at who leads a stream: an election is told
// to nobody who was not there before it.
const leaderPause = 50 * time.Millisecond

// Leader waits until a stream has a leader, and returns it and the others.
func (c *Cluster) Leader(ctx context.Context, js jetstream.JetStream, stream string) (leader *Server, others []*Server, err error) {
	for {
		name, err := leaderOf(ctx, js, stream)
		for _, s := range c.Servers {
			if s.name == name {
				leader = s
			} else {
				others = append(others, s)
			}
		}
		if leader != nil {
			return leader, others, nil
		}
		others = nil
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("the stream %s has no leader: %w", stream, errors.Join(context.Cause(ctx), err))
		case <-time.After(leaderPause):
		}
	}
}

func leaderOf(ctx context.Context, js jetstream.JetStream, stream string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return "", err
	}
	cluster := s.CachedInfo().Cluster
	if cluster == nil {
		return "", fmt.Errorf("%s is in no cluster", stream)
	}
	return cluster.Leader, nil
}

// leadPatience is how long an election may take before it is asked for another:
// each throws out the one that is under way.
const leadPatience = 5 * time.Second

// Lead makes a server the leader of a stream, once it has caught up.
func (c *Cluster) Lead(ctx context.Context, js jetstream.JetStream, stream string, s *Server) error {
	var asked time.Time
	for {
		leader, _, err := c.Leader(ctx, js, stream)
		if err != nil || leader == s {
			return err
		}
		if time.Since(asked) > leadPatience {
			if err := c.AwaitCurrent(ctx, js, stream, s); err != nil {
				return err
			}
			// An error is one of a leader that is leaving: it is asked again.
			_, _ = js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, fmt.Appendf(nil, `{"placement":{"preferred":%q}}`, s.name))
			asked = time.Now()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not become the leader of %s: %w", s.name, stream, context.Cause(ctx))
		case <-time.After(leaderPause):
		}
	}
}

// AwaitCurrent waits until the leader of a stream says that another server has all
// that it has.
func (c *Cluster) AwaitCurrent(ctx context.Context, js jetstream.JetStream, stream string, s *Server) error {
	for {
		asked, cancel := context.WithTimeout(ctx, time.Second)
		if st, err := js.Stream(asked, stream); err == nil {
			last := st.CachedInfo().Cluster
			if last != nil && slices.ContainsFunc(last.Replicas, func(p *jetstream.PeerInfo) bool { return p.Name == s.name && p.Current && !p.Offline && p.Lag == 0 }) {
				cancel()
				return nil
			}
		}
		cancel()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not catch up with %s: %w", s.name, stream, context.Cause(ctx))
		case <-time.After(leaderPause):
		}
	}
}
