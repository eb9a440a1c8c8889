// SPDX-License-Identifier: Apache-2.0

package sourceguard

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

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
func (g Bridged) Add() error {
	err := g.write(false)
	if errors.Is(err, unix.ENOENT) {
		if err = nftset.Locked(ensureBridgeTable); err == nil {
			err = g.write(false)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		// The port's name is made from the container's, so what has it is left of the same one.
		err = nftset.Locked(func() error { return g.write(true) })
	}
	if err != nil {
		return fmt.Errorf("guard source addresses of %s: %w", g.Port, err)
	}
	return nil
}

func (g Bridged) write(replace bool) error {
	var b nftset.Batch
	for name, list := range g.elements() {
		for _, e := range list {
			if replace {
				_, found, err := nftset.Get(bridgeSet(name), e.Key)
				if err != nil {
					return err
				}
				if found {
					b.Delete(bridgeSet(name), e)
				}
			}
			b.Add(bridgeSet(name), e)
		}
	}
	return b.Commit()
}

// Check fails when the guard is not whole.
func (g Bridged) Check() error {
	for name, list := range g.elements() {
		for _, e := range list {
			have, found, err := nftset.Get(bridgeSet(name), e.Key)
			if err != nil {
				return err
			}
			if !found || have.Comment != e.Comment {
				return fmt.Errorf("the nftables set %s of table bridge %s does not hold what %s may send from", name, tableName, g.Port)
			}
		}
	}
	return nil
}

// elements are those of each set. The unspecified address is that of duplicate address detection, and the link-local
// address is what the container's kernel makes of its hardware address.
func (g Bridged) elements() map[string][]nftset.Element {
	comment := g.Owner.String()
	out := map[string][]nftset.Element{setPorts: {{Key: portKey(g.Port), Comment: comment}}}
	add := func(set string, ip net.IP) {
		out[set] = append(out[set], nftset.Element{Key: sourceKey(g.Port, g.MAC, ip), Comment: comment})
	}
	for _, a := range g.Addresses {
		if v4 := a.IP.To4(); v4 != nil {
			if len(out[setV4]) == 0 {
				add(setV4, net.IPv4zero.To4())
			}
			add(setV4, v4)
			continue
		}
		if len(out[setV6]) == 0 {
			add(setV6, net.IPv6zero)
			add(setV6, linkLocal(g.MAC))
		}
		add(setV6, a.IP.To16())
	}
	return out
}

// linkLocal is the address that a kernel gives itself on a link (RFC 4291, appendix A).
func linkLocal(mac net.HardwareAddr) net.IP {
	ip := net.ParseIP("fe80::ff:fe00:0")
	copy(ip[8:], mac[:3])
	copy(ip[13:], mac[3:])
	ip[8] ^= 2
	return ip
}

// Remove removes what an owner's port may send.
func Remove(o plugin.Owner) error {
	text := o.String()
	return removeIf(func(comment string) bool { return comment == text })
}

// Sweep removes what ports of owners that are not alive may send.
func Sweep(alive func(plugin.Owner) bool) error {
	return removeIf(func(comment string) bool {
		o, ok := plugin.ParseOwner(comment)
		return ok && !alive(o)
	})
}

func removeIf(unwanted func(comment string) bool) error {
	names, err := nftset.Names(unix.NFPROTO_BRIDGE, tableName)
	if err != nil || len(names) == 0 {
		return err
	}
	return nftset.Locked(func() error {
		var b nftset.Batch
		for _, name := range []string{setPorts, setV4, setV6} {
			all, err := nftset.List(bridgeSet(name))
			if err != nil {
				return err
			}
			for _, e := range all {
				if unwanted(e.Comment) {
					b.Delete(bridgeSet(name), e)
				}
			}
		}
		return b.Commit()
	})
}
