package rig

import (
	"context"
	"fmt"
)

// NewDivisibleCluster is [Rig.NewCluster] for a cluster whose servers can be cut
// off from each other by [Cluster.Isolate], while clients still reach them all.
func (r *Rig) NewDivisibleCluster(ctx context.Context, n int, config string) (*Cluster, error) {
	c, listen, err := r.newCluster(n)
	if err != nil {
		return nil, err
	}
	// Servers tell each other where a third one is to be found. That must not lead
	// past the proxies, so they tell an address where nobody listens.
	nowhere, err := r.freePort()
	if err != nil {
		return nil, err
	}
	c.between = make(map[[2]*Server]*Proxy)
	for i, s := range c.Servers {
		var routes []string
		for j, other := range c.Servers {
			if i == j {
				continue
			}
			p, err := r.NewProxy(ctx, listen[j])
			if err != nil {
				return nil, err
			}
			c.between[[2]*Server{s, other}] = p
			routes = append(routes, p.listener.Addr().String())
		}
		if err := s.join(listen[i], fmt.Sprintf("advertise: %q, ", loopback(nowhere)), routes, config); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Isolate makes the network between one server and the others swallow everything,
// in both directions.
func (c *Cluster) Isolate(s *Server) { c.set(s, Hold) }

// Heal ends what [Cluster.Isolate] began. What was swallowed arrives late, unless
// the connections are cut.
func (c *Cluster) Heal(s *Server, cut bool) {
	if cut {
		c.set(s, Refuse)
	}
	c.set(s, Pass)
}

func (c *Cluster) set(s *Server, m Mode) {
	for ends, p := range c.between {
		if ends[0] == s || ends[1] == s {
			p.Set(m)
		}
	}
}
