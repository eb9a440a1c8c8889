// SPDX-License-Identifier: Apache-2.0

// Package dataplane says what a dataplane is: something that makes this node match a table.
//
// The tables come from compile, where everything is decided; a dataplane renders rows, compares them with what it wrote
// last and applies the difference. Each backend is a package of its own below this one.
package dataplane

import (
	"context"
	"net/netip"
	"slices"

	"eastwest/internal/table"
)

// A Dataplane makes this node match a table of rows.
type Dataplane[R any] interface {
	// Apply makes the node match want, which is the whole desired state and is never modified. changed names the rows
	// that differ from the last table applied. Apply is idempotent; after an error the next call gets changed.All.
	Apply(ctx context.Context, want table.Table[R], changed table.Keys) error
	// Remove takes away everything that this dataplane ever put in place. Nothing there is no error.
	Remove(ctx context.Context) error
	// Dump returns what is in place now, as sorted text for people and tests.
	Dump(ctx context.Context) (string, error)
}

// Local says how a services backend tells pods from clients outside the cluster. At most one field is set; the zero value
// says that they cannot be told apart: then nobody is masqueraded for coming from outside, and external traffic policy
// Local holds for everybody but the node itself.
type Local struct {
	CIDRs           []netip.Prefix // pods have these addresses
	Bridge          string         // packets of pods come in through this interface
	InterfacePrefix string         // packets of pods come in through interfaces whose names begin with this
}

// Node is what a services backend knows of its node and cluster.
type Node struct {
	Local        Local   // how pods are told from clients outside
	ServiceCIDRs *Ranges // addresses in them that no Service has are refused
	// NodePortAddresses are where node ports are served; empty is every address of the node but loopback's, which have to be
	// named; then nftables and iptables need the sysctl route_localnet, too.
	NodePortAddresses []netip.Prefix
}

// NodeView is what holds of a Node in one family.
type NodeView struct {
	Local    Local
	Services []netip.Prefix // virtual addresses
	Nodes    []netip.Prefix // addresses that serve node ports; empty is all
	NoNodes  bool           // no address serves node ports
	Loopback []netip.Prefix // addresses of the loopback that serve node ports as well
}

// View returns what holds in a family now.
func (n Node) View(ipv6 bool) NodeView {
	others, loopback := NodePortAddresses(n.NodePortAddresses)
	v := NodeView{
		Local: n.Local.Of(ipv6), Services: prefixesOf(n.ServiceCIDRs.List(), ipv6), Nodes: prefixesOf(others, ipv6), Loopback: prefixesOf(loopback, ipv6),
	}
	v.NoNodes = len(n.NodePortAddresses) > 0 && len(v.Nodes) == 0
	return v
}

func prefixesOf(list []netip.Prefix, ipv6 bool) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return p.Addr().Is6() != ipv6 })
}

// Known reports whether pods can be told from clients outside.
func (l Local) Known() bool { return len(l.CIDRs) > 0 || l.Bridge != "" || l.InterfacePrefix != "" }

// Of keeps the prefixes of one family.
func (l Local) Of(ipv6 bool) Local {
	l.CIDRs = prefixesOf(l.CIDRs, ipv6)
	return l
}

// Loopback is where a node talks to itself. Node ports are served there only where it is asked for, and over IPv4 alone: the
// kernel has to be told that such packets may leave the interface, and has no way to allow it for IPv6.
var Loopback = netip.MustParsePrefix("127.0.0.0/8")

// NodePortAddresses splits the addresses that serve node ports into those of the loopback and others.
func NodePortAddresses(all []netip.Prefix) (others, loopback []netip.Prefix) {
	for _, p := range all {
		switch {
		case p.Addr().Is4() && Loopback.Contains(p.Addr()) && p.Bits() >= Loopback.Bits():
			loopback = append(loopback, p.Masked())
		case !p.Addr().IsLoopback():
			others = append(others, p)
		}
	}
	return others, loopback
}
