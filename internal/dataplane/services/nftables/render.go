// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"net/netip"

	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// place names an element: its map or set, and its key there.
type place struct{ set, key string }

// value is what the element at a place holds.
type value struct{ data, comment string }

// classDrop is the major number of the value that drops; the minor number is the count of endpoints.
const classDrop = 1

// render writes the elements of one service in one family into out.
func render(s table.Service, family nft.Family, out map[place]value) {
	for _, f := range s.Frontends {
		if !of(family, f.Addr) {
			continue
		}
		label := comment(s.Label(f))
		m, key := mapOf(f), frontendKey(f)
		out[place{m.name, key}] = value{number(f), label}
		for slot, endpoint := range f.Endpoints {
			out[place{endpointMap(m.group, slot), key}] = value{endpointData(endpoint), label}
		}
		if f.LocalSocket {
			out[place{setSocket, key}] = value{"", label}
		}
	}
	label := comment(s.Object.Namespace + "/" + s.Object.Name)
	for _, addr := range s.Addresses {
		if of(family, addr) {
			out[place{setAddress, string(addr.AsSlice())}] = value{"", label}
		}
	}
	for _, addr := range s.Hairpin {
		if of(family, addr) {
			bytes := string(addr.AsSlice())
			out[place{setHairpin, bytes + bytes}] = value{"", ""}
		}
	}
}

// capacity raises the counts to what a service needs.
func capacity(s table.Service, family nft.Family, counts *[groups]int) {
	for _, f := range s.Frontends {
		if of(family, f.Addr) {
			g := mapOf(f).group
			counts[g] = max(counts[g], len(f.Endpoints))
		}
	}
}

func of(family nft.Family, addr netip.Addr) bool { return addr.Is4() == (family == nft.IPv4) }

// number returns the count of endpoints as the kernel keeps it in a register, in the byte order of this machine.
func number(f table.Frontend) string {
	n := uint32(len(f.Endpoints))
	if f.Action == table.Drop {
		n = classDrop << 16
	}
	return string(binary.NativeEndian.AppendUint32(nil, n))
}

func frontendKey(f table.Frontend) string {
	var key []byte
	if f.Kind != table.NodePort {
		key = f.Addr.AsSlice()
	}
	key = append(key, byte(f.Protocol), 0, 0, 0)
	return string(append(key, byte(f.Port>>8), byte(f.Port), 0, 0))
}

func endpointData(e netip.AddrPort) string {
	return string(append(e.Addr().AsSlice(), byte(e.Port()>>8), byte(e.Port()), 0, 0))
}

// comment cuts a label to what the kernel keeps; namespaces, names and port names may be 63 + 63 + 15 bytes long.
func comment(label string) string {
	if len(label) > nft.MaxComment {
		return label[:nft.MaxComment-3] + "..."
	}
	return label
}
