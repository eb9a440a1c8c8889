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

// A frontend's number is that of its draw in the low drawBits and the seconds of affinity above them.
const (
	drawBits = 15
	dropped  = 1<<drawBits - 1 // stands for the action Drop; no draw has this number
)

// render writes the elements of one service in one family into out, without the endpoints that are in the same slots of other:
// what the service was, or is to be.
func render(s, other table.Service, family nft.Family, out map[place]value) {
	for _, f := range s.Frontends {
		if !of(family, f.Addr) {
			continue
		}
		label := comment(s.Label(f))
		m, key := mapOf(f), frontendKey(f)
		out[place{m.name, key}] = value{data: number(f), comment: label}
		same := slotsIn(other, f)
		for slot, endpoint := range f.Endpoints {
			if slot < len(same) && same[slot] == endpoint {
				continue
			}
			out[slotPlace(m.group, key, uint32(slot))] = value{data: endpointData(endpoint), comment: label}
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
	for _, addr := range s.Elsewhere {
		if of(family, addr) {
			out[place{setElsewhere, string(addr.AsSlice())}] = value{comment: label}
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

// slotPlace names the element that has the endpoint of a frontend in a slot.
func slotPlace(g group, frontend string, slot uint32) place {
	return place{endpointMap(g), frontend + register(slot)}
}

// register returns a number as the kernel keeps it in a register, in the byte order of this machine.
func register(n uint32) string { return string(binary.NativeEndian.AppendUint32(nil, n)) }

// number returns how a frontend's endpoint is drawn.
func number(f table.Frontend) string {
	n := uint32(drawAmong(len(f.Endpoints)))
	if n > 0 {
		n |= f.AffinitySeconds << drawBits
	}
	if f.Action == table.Drop {
		n = dropped
	}
	return register(n)
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
