// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftset"
)

// entry is an element that an attachment puts into a set of the table.
type entry struct {
	set     nftset.Set
	element nftset.Element
	// exclusive entries are host ports, of which each has one owner. The others are keyed by the container's address:
	// if another owner has them, that container is gone, since IPAM gave its address to this one.
	exclusive bool
	port      mapping
}

// entries is what a container with the given address has in the table; the address decides the family.
func entries(c *config, addr netip.Addr, owner string) []entry {
	if !addr.IsValid() {
		return nil
	}
	var out []entry
	for _, m := range c.of(addr) {
		set, key := c.table().hostKey(m, addr.Is4())
		value := append(addr.AsSlice(), port(m.containerPort)...)
		out = append(out, entry{set: set, exclusive: true, port: m, element: nftset.Element{Key: key, Value: value, Comment: owner}})
	}
	if len(out) > 0 {
		out = append(out, masqueraded(c, addr, owner)...)
	}
	return distinct(out)
}

func (t table) hostKey(m mapping, v4 bool) (nftset.Set, []byte) {
	if m.hostIP.IsValid() && !m.hostIP.IsUnspecified() {
		return t.set("hostip" + suffix(v4)), append(m.hostIP.AsSlice(), protoPort(m.proto, m.hostPort)...)
	}
	return t.set("hostport" + suffix(v4)), protoPort(m.proto, m.hostPort)
}

// masqueraded: a container that reaches itself through the host must see the host as the client, and so must what
// comes from 127.0.0.1, which cannot leave the host as a source.
func masqueraded(c *config, addr netip.Addr, owner string) []entry {
	var out []entry
	put := func(name string, key []byte) {
		out = append(out, entry{set: c.table().set(name + suffix(addr.Is4())), element: nftset.Element{Key: key, Comment: owner}})
	}
	if c.snat() {
		put("masquerade", append(addr.AsSlice(), addr.AsSlice()...))
		if addr.Is4() {
			put("masquerade", append([]byte{127, 0, 0, 1}, addr.AsSlice()...))
		}
	}
	if c.snat() && c.MasqAll {
		for _, m := range c.mappings {
			put("masqall", append(addr.AsSlice(), protoPort(m.proto, m.containerPort)...))
		}
	}
	return out
}

// distinct drops entries that are there twice, such as two host ports of one container port with masqAll.
func distinct(all []entry) []entry {
	seen := map[string]bool{}
	out := all[:0]
	for _, e := range all {
		id := e.set.Name + string(e.element.Key)
		if !seen[id] {
			seen[id] = true
			out = append(out, e)
		}
	}
	return out
}

func suffix(v4 bool) string {
	if v4 {
		return "4"
	}
	return "6"
}

// Keys are concatenations, each part padded to four bytes.
func port(p uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, p), 0, 0) }

func protoPort(proto byte, p uint16) []byte { return append([]byte{proto, 0, 0, 0}, port(p)...) }

// String words a mapping's host side for messages.
func (m mapping) String() string {
	name := protoName(m.proto)
	if m.hostIP.IsValid() && !m.hostIP.IsUnspecified() {
		return fmt.Sprintf("host port %s/%s", netip.AddrPortFrom(m.hostIP, m.hostPort), name)
	}
	return fmt.Sprintf("host port %d/%s", m.hostPort, name)
}

func protoName(proto byte) string {
	return map[byte]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp"}[proto]
}
