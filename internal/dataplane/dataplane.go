// SPDX-License-Identifier: Apache-2.0

// Package dataplane says what a dataplane is: something that makes this node match a table.
//
// The tables come from compile, where everything is decided; a dataplane renders rows, compares them with what it wrote
// last and applies the difference. Each backend is a package of its own below this one.
package dataplane

import (
	"context"
	"net/netip"

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

// Known reports whether pods can be told from clients outside.
func (l Local) Known() bool { return len(l.CIDRs) > 0 || l.Bridge != "" || l.InterfacePrefix != "" }

// Of keeps the prefixes of one family.
func (l Local) Of(ipv6 bool) Local {
	var own []netip.Prefix
	for _, p := range l.CIDRs {
		if p.Addr().Is6() == ipv6 {
			own = append(own, p)
		}
	}
	l.CIDRs = own
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
