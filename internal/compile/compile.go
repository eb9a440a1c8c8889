// SPDX-License-Identifier: Apache-2.0

// Package compile decides: it turns a snapshot of the cluster and this node's place in it into the tables that the
// dataplanes write down. It is pure; nothing in it talks to the API or the kernel.
//
//	snapshot ─▶ Service, Name     one row for each Service, compiled again when it or a slice of it changes
//	         ─▶ Routes, Tunnels, Egress    from the nodes
//	         ─▶ Announcement   one row for each load balancer that this node answers for
package compile

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// Config is this node's place in the cluster.
type Config struct {
	NodeName     string
	NodeIPs      []netip.Addr   // this node's addresses; their families are the families that it serves; empty is both
	ClusterCIDRs []netip.Prefix // all pods
	DNSService   string         // namespace/name of the Service that this node's own agent serves; empty for none
	NameTTL      uint32         // of DNS records, in seconds
	Overlay      Overlay        // empty is OverlayNone
	// MasqueradeAll gives every connection to a virtual address this node's address as its source.
	MasqueradeAll bool
	NoNames       bool // nobody answers DNS from these tables
	NamesOnly     bool // compile no services: DNS alone serves none
	NoAnnounce    bool // somebody else announces load balancers
}

// Tables is everything that one node applies.
type Tables struct {
	Services table.Table[table.Service]
	Names    table.Table[table.Name]
	Routes   table.Table[table.Route]
	Tunnels  table.Table[table.Tunnel]
	Egress   table.Table[table.Egress]

	Announcements table.Table[table.Announcement]
}

// Keys says which rows of each table differ from the tables before.
type Keys struct {
	Services, Names, Routes, Tunnels, Egress, Announcements table.Keys
}

// Compiler keeps the last tables, so that an update costs what changed. It is not safe for concurrent use.
type Compiler struct {
	config Config
	last   Tables
	own    ownNode
	claims claims

	announced map[string]bool // Services that some node announces
}

// New makes a compiler for one node.
func New(config Config) *Compiler {
	return &Compiler{config: config, claims: newClaims(), announced: map[string]bool{}}
}

// Update compiles what changed and returns all tables. Rows that came out the same are not among the keys.
func (c *Compiler) Update(now snapshot.Snapshot, changes snapshot.Changes) (Tables, Keys) {
	var keys Keys
	services := changes.Services
	if own := ownNodeOf(now, c.config.NodeName); own.Zone != c.own.Zone || !slices.Equal(own.Addrs, c.own.Addrs) {
		c.own = own
		services = append(now.Services.Keys(), changes.Services...) // those that are gone are in changes alone
	}
	if c.config.NamesOnly {
		services = nil
	}
	c.last.Services, keys.Services = c.services(now, services)
	if !c.config.NoNames {
		c.last.Names, keys.Names = update(c.last.Names, nameKeys(changes), func(key string) (table.Name, bool) {
			return Name(now, c.config, key)
		})
	}
	if len(changes.Nodes) > 0 || changes.OnLink || changes.ServiceCIDRs {
		c.last.Routes, keys.Routes = replace(c.last.Routes, Routes(now, c.config))
		c.last.Tunnels, keys.Tunnels = replace(c.last.Tunnels, Tunnels(now, c.config))
		c.last.Egress, keys.Egress = replace(c.last.Egress, Egress(now, c.config))
	}
	if !c.config.NoAnnounce {
		c.last.Announcements, keys.Announcements = c.announcements(now, changes)
	}
	return c.last, keys
}

// services compiles the rows of some services, and of those whose places they took or gave back.
func (c *Compiler) services(now snapshot.Snapshot, names []string) (table.Table[table.Service], table.Keys) {
	rows := make(map[string]table.Service, len(names))
	done := make(map[string]bool, len(names))
	compiled := func(name string) table.Service {
		row, ok := Service(now, c.config, name)
		if ok {
			rows[name] = row
		}
		done[name] = true
		return row
	}
	var touched []string
	for _, name := range names {
		if !done[name] {
			touched = append(touched, c.claims.set(name, compiled(name))...)
		}
	}
	for _, name := range touched {
		if !done[name] {
			compiled(name)
		}
	}
	return update(c.last.Services, slices.Sorted(maps.Keys(done)), func(name string) (table.Service, bool) {
		row, ok := rows[name]
		return c.claims.granted(name, row), ok
	})
}

// update compiles the rows of some keys.
func update[R any](last table.Table[R], keys []string, compile func(string) (R, bool)) (table.Table[R], table.Keys) {
	set, changed := map[string]R{}, table.Keys{}
	var gone []string
	for _, key := range keys {
		row, ok := compile(key)
		old, had := last.Get(key)
		switch {
		case ok && (!had || !reflect.DeepEqual(old, row)):
			set[key] = row
		case !ok && had:
			gone = append(gone, key)
		default:
			continue
		}
		changed.Names = append(changed.Names, key)
	}
	if len(changed.Names) == 0 {
		return last, changed
	}
	return last.With(set, gone...), changed
}

// replace makes the table equal to rows.
func replace[R any](last table.Table[R], rows map[string]R) (table.Table[R], table.Keys) {
	keys := maps.Clone(rows)
	if keys == nil {
		keys = map[string]R{}
	}
	for key, row := range last.All() {
		keys[key] = row
	}
	names := make([]string, 0, len(keys))
	for key := range keys {
		names = append(names, key)
	}
	return update(last, names, func(key string) (R, bool) { row, ok := rows[key]; return row, ok })
}

// ownNode is what of this node's Node decides about services.
type ownNode struct {
	Zone  string
	Addrs []netip.Addr
}

func ownNodeOf(now snapshot.Snapshot, node string) ownNode {
	if n, ok := now.Nodes.Get(node); ok {
		return ownNode{n.Zone, n.Addrs}
	}
	return ownNode{}
}
