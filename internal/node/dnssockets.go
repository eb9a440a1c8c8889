// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"eastwest/internal/dns"
	"eastwest/internal/dns/keeper"
	"eastwest/internal/table"
)

// While an agent is away, the pods of its node ask another node's agent. The agent of a cluster's only node has nobody to
// leave them to: then its sockets stay open in a process of their own, and what reaches them waits for the next agent.
type dnsSockets struct {
	path   string
	start  func(*os.File) error // the process; nil for none
	log    *slog.Logger
	keeper *keeper.Client // nil while there is none
}

// keeperEvery is how often it is looked whether the node is still alone, or alone now.
const keeperEvery = time.Second

// dnsSockets takes over what an agent before this one left.
func (a *agent) dnsSockets() (*dnsSockets, []*os.File) {
	s := &dnsSockets{path: filepath.Join(a.RunDir, "dns", "keeper.sock"), start: a.KeepDNS, log: a.Log.With("part", "dns")}
	if s.start == nil {
		return s, nil
	}
	c, kept, err := keeper.Reach(s.path)
	if err != nil {
		return s, nil // the usual case: there was no agent lately, or its node was not alone
	}
	s.keeper = c
	return s, kept
}

// run has the server's sockets kept as long as alone says so, until ctx ends.
func (s *dnsSockets) run(ctx context.Context, server *dns.Server, alone func() (alone, known bool)) error {
	if s.start == nil {
		return nil
	}
	tick := time.NewTicker(keeperEvery)
	defer tick.Stop()
	gone, held := s.follow(), false
	for {
		switch alone, known := alone(); {
		case !known:
		case !alone:
			s.end()
			server.Keep(false)
			held = false
		case !held:
			if err := s.hold(server); err != nil {
				s.log.Warn("questions are lost while the agent restarts", "err", err)
				break
			}
			gone, held = s.follow(), true
			server.Keep(true)
		}
		select {
		case <-ctx.Done():
			if s.keeper != nil {
				s.keeper.Close()
			}
			return nil
		case <-gone:
			s.keeper, gone, held = nil, nil, false
			server.Keep(false)
		case <-tick.C:
		}
	}
}

func (s *dnsSockets) hold(server *dns.Server) (err error) {
	if s.keeper == nil {
		if s.keeper, err = keeper.Start(s.path, s.start); err != nil {
			return err
		}
	}
	return s.keeper.Hold(server.Sockets())
}

// follow returns what is closed when the keeper has gone.
func (s *dnsSockets) follow() <-chan struct{} {
	if s.keeper == nil {
		return nil
	}
	gone, c := make(chan struct{}), s.keeper
	go func() {
		c.Gone()
		close(gone)
	}()
	return gone
}

func (s *dnsSockets) end() {
	if s.keeper != nil {
		s.keeper.End()
	}
}

// aloneForDNS reports whether no other node's agent would answer the questions of this node's pods, once that is known.
func (n *Network) aloneForDNS() (alone, known bool) {
	row, known := n.Tables().Services.Get(n.config.DNSService)
	return !slices.ContainsFunc(row.Frontends, func(f table.Frontend) bool { return f.LocalSocket && len(f.Endpoints) > 0 }), known
}
