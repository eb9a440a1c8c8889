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
type value struct {
	data, comment string
	end           string // last key of a range
}

// A frontend's number is its count of endpoints in the low countBits and the seconds of affinity above them.
const (
	countBits = 15
	dropped   = 1<<countBits - 1 // stands for the action Drop; no Service has so many endpoints
)

// render writes the elements of one service in one family into out.
func render(s table.Service, family nft.Family, out map[place]value) {
	for _, f := range s.Frontends {
		if !of(family, f.Addr) {
			continue
		}
		label := comment(s.Label(f))
		m, key := mapOf(f), frontendKey(f)
		out[place{m.name, key}] = value{data: number(f), comment: label}
		for slot, endpoint := range f.Endpoints {
			out[place{endpointMap(m.group, slot), key}] = value{data: endpointData(endpoint), comment: label}
		}
		if f.LocalSocket {
			out[place{setSocket, key}] = value{comment: label}
		}
		if f.SourceRanges != nil {
			renderRanges(f, key, label, out)
		}
	}
	label := comment(s.Object.Namespace + "/" + s.Object.Name)
	for _, addr := range s.Addresses {
		if of(family, addr) {
			out[place{setAddress, string(addr.AsSlice())}] = value{comment: label}
		}
	}
	for _, addr := range s.Hairpin {
		if of(family, addr) {
			bytes := string(addr.AsSlice())
			out[place{setHairpin, bytes + bytes}] = value{}
		}
	}
}

// renderRanges writes which clients a frontend lets in; an empty list lets nobody in.
func renderRanges(f table.Frontend, key, label string, out map[place]value) {
	out[place{setRanged, key}] = value{comment: label}
	for _, p := range f.SourceRanges {
		last := p.Masked().Addr().AsSlice()
		for bit := p.Bits(); bit < len(last)*8; bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		first := key + string(p.Masked().Addr().AsSlice())
		out[place{setAllowed, first}] = value{comment: label, end: key + string(last)}
	}
}

func of(family nft.Family, addr netip.Addr) bool { return addr.Is4() == (family == nft.IPv4) }

// number returns the count of endpoints as the kernel keeps it in a register, in the byte order of this machine.
func number(f table.Frontend) string {
	n := uint32(len(f.Endpoints))
	if n > 0 {
		n |= f.AffinitySeconds << countBits
	}
	if f.Action == table.Drop {
		n = dropped
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
