// SPDX-License-Identifier: Apache-2.0

// Package sweep frees what container runtimes forgot: addresses, interfaces, port mappings and masquerading of
// containers that do not exist any more. The agent calls it once at start, before it makes pods, because old runtimes
// never call the verb GC, and a node that lost power keeps its leases on disk.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/firewall"
	"eastwest/internal/cni/hostlocal"
	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/portmap"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/kernel/netns"
)

// Config says what to sweep.
type Config struct {
	// Network is the name of the network in its configuration list. Only what belongs to it is looked at.
	Network string
	// DataDir is host-local's "dataDir"; empty for its default.
	DataDir string
	// NetNS is the path of the node's network namespace; empty for that of the process.
	NetNS string
	// Containers are the sandboxes that exist, by the id that the runtime gave CNI, whatever their interfaces.
	Containers []string
	// Log gets a line for each thing that was freed.
	Log *slog.Logger
}

// Sweep frees everything of the network that belongs to no container of the list, and nothing else. It goes on after
// an error and returns all of them.
func Sweep(ctx context.Context, c Config) error {
	if c.Network == "" {
		return errors.New("sweep network: the name of the network is empty")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ns := c.NetNS
	if ns == "" {
		ns = "/proc/thread-self/ns/net"
	}
	alive := c.alive()
	err := netns.Do(ns, func() error {
		gone, err := attach.Sweep(alive)
		for _, o := range gone {
			c.Log.Info("freed interface of a container that is gone", "network", o.Network, "container", o.ContainerID, "interface", o.IfName)
		}
		return errors.Join(err, portmap.Sweep(ctx, alive), masquerade.Sweep(ctx, alive), firewall.Sweep(ctx, alive), sourceguard.Sweep(alive))
	})
	return errors.Join(err, c.addresses())
}

// alive compares owners as they are written on kernel objects, where names that are too long are shortened.
func (c Config) alive() func(plugin.Owner) bool {
	return func(o plugin.Owner) bool {
		if !plugin.SameName(o.Network, c.Network) {
			return true
		}
		return slices.ContainsFunc(c.Containers, func(id string) bool { return plugin.SameName(o.ContainerID, id) })
	}
}

func (c Config) exists() map[string]bool {
	exists := make(map[string]bool, len(c.Containers))
	for _, id := range c.Containers {
		exists[id] = true
	}
	return exists
}

func (c Config) addresses() error {
	dir := c.DataDir
	if dir == "" {
		dir = hostlocal.DefaultDataDir
	}
	exists := c.exists()
	freed, err := hostlocal.Sweep(dir, c.Network, func(container, _ string) bool { return exists[container] })
	for _, a := range freed {
		c.Log.Info("freed address of a container that is gone", "network", c.Network, "address", a)
	}
	if err != nil {
		return fmt.Errorf("free addresses of network %s: %w", c.Network, err)
	}
	return nil
}
