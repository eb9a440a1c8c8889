// SPDX-License-Identifier: Apache-2.0

package sourceguard

import (
	"net"

	"golang.org/x/sys/unix"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/nftset"
	"eastwest/internal/cni/plugin"
)

// Bridged is what a container may send through its port of a bridge: frames from its hardware address with one of its
// addresses as the source.
type Bridged struct {
	Owner     plugin.Owner
	Port      string
	MAC       net.HardwareAddr
	Addresses []net.IPNet
}

// Add lets the port send what it may, and nothing else.
func (g Bridged) Add() error { return add(g.Port, g.entries(), ensureBridgeTable) }

// Check fails when the guard is not whole.
func (g Bridged) Check() error { return check(g.Port, g.entries()) }

// entries are the port and what it may send from. The unspecified address is that of duplicate address detection, and the
// link-local address is what the container's kernel makes of its hardware address.
func (g Bridged) entries() []entry {
	comment := g.Owner.String()
	out := []entry{{setOf(unix.NFPROTO_BRIDGE, setPorts), nftset.Element{Key: linkKey(g.Port), Comment: comment}}}
	had := map[string]bool{}
	from := func(name string, addresses ...net.IP) {
		for _, ip := range addresses {
			out = append(out, entry{setOf(unix.NFPROTO_BRIDGE, name), nftset.Element{Key: sourceKey(g.Port, g.MAC, ip), Comment: comment}})
		}
		had[name] = true
	}
	for _, a := range g.Addresses {
		if v4 := a.IP.To4(); v4 != nil {
			if !had[setV4] {
				from(setV4, net.IPv4zero.To4())
			}
			from(setV4, v4)
			continue
		}
		if !had[setV6] {
			from(setV6, net.IPv6zero, attach.LinkLocal(g.MAC))
		}
		from(setV6, a.IP.To16())
	}
	return out
}
