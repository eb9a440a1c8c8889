// SPDX-License-Identifier: Apache-2.0

// Package takenports tells of node ports at which a process of this node listens as well. The Service has them: packets are
// translated before a socket sees them, so that the process no longer hears from anybody.
package takenports

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/table"
)

// Config is what a Backend needs.
type Config struct {
	// Listening returns the ports at which processes of this node listen, at more than the loopback, over tcp or udp.
	Listening func(network string) (map[uint16]bool, error)
	Report    func(row table.Service, f table.Frontend) // of each that is taken, once while it is
}

// Backend looks at the node ports of services. It is not safe for concurrent use.
type Backend struct {
	config Config
	told   map[string]map[string]bool // by service, the frontends
}

var _ dataplane.Dataplane[table.Service] = (*Backend)(nil)

// New makes a backend.
func New(config Config) *Backend { return &Backend{config: config, told: map[string]map[string]bool{}} }

// Apply looks at the node ports of the rows that changed; of all at a resync, when a process may have come since.
func (b *Backend) Apply(_ context.Context, want table.Table[table.Service], changed table.Keys) error {
	names := changed.Names
	if changed.All {
		names = append(want.Keys(), slices.Collect(maps.Keys(b.told))...)
	}
	taken := map[string]map[uint16]bool{}
	for _, name := range names {
		row, _ := want.Get(name)
		now := map[string]bool{}
		for _, f := range row.Frontends {
			network := f.Protocol.String()
			if f.Kind != table.NodePort || f.Protocol == table.SCTP {
				continue
			}
			if taken[network] == nil {
				ports, err := b.config.Listening(network)
				if err != nil {
					return fmt.Errorf("look for node ports that processes have: %w", err)
				}
				taken[network] = ports
			}
			at := fmt.Sprintf("%d/%s", f.Port, network)
			if !taken[network][f.Port] || now[at] { // it is there once a view and family
				continue
			}
			now[at] = true
			if !b.told[name][at] {
				b.config.Report(row, f)
			}
		}
		if delete(b.told, name); len(now) > 0 {
			b.told[name] = now
		}
	}
	return nil
}

// Remove forgets what was told.
func (b *Backend) Remove(context.Context) error {
	clear(b.told)
	return nil
}

// Dump returns the ports that are taken, one a line: service, port and protocol.
func (b *Backend) Dump(context.Context) (string, error) {
	var lines []string
	for name, ports := range b.told {
		for at := range ports {
			lines = append(lines, name+" "+at+"\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}
