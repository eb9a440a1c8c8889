// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/table"
)

// image is what services are in the kernel.
type image struct {
	elements [3]map[place]value // by family
	servers  map[ipvs.Key]server
	aliases  map[aliased]bool // that the servers use
	listings [3]string        // of the tables, when the image was read; empty where there is none
}

func newImage() image {
	return image{
		elements: [3]map[place]value{{}, {}, {}}, servers: map[ipvs.Key]server{}, aliases: map[aliased]bool{},
	}
}

// server is a virtual server.
type server struct {
	persistence uint32
	scheduler   string
	weights     map[netip.AddrPort]int // of its destinations
	alias       bool
}

// renderer writes services; it knows what they mean on this node.
type renderer struct {
	scheduler string
	nodeports config
	node      map[netip.Addr]bool // addresses of the node that no service has
	aliases   *allocator
}

// config says where node ports are served.
type config struct {
	others, loopback []netip.Prefix
	all              bool // no range was asked for
}

func nodePortsOf(ranges []netip.Prefix) config {
	others, loopback := dataplane.NodePortAddresses(ranges)
	return config{others: others, loopback: loopback, all: len(ranges) == 0}
}

// serves reports whether an address of the node serves node ports. A link's own addresses are no place to ask from elsewhere.
func (c config) serves(addr netip.Addr) bool {
	within := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	switch {
	case addr.Is4() && addr.IsLoopback():
		return within(c.loopback) && addr == loopback
	case addr.IsLoopback(), addr.Is6() && addr.IsLinkLocalUnicast():
		return false
	}
	return c.all || within(c.others)
}

// loopback is the one address of its range that serves node ports.
var loopback = netip.MustParseAddr("127.0.0.1")

// render writes one service into out.
func (r renderer) render(s table.Service, out image) error {
	for _, f := range s.Frontends {
		if err := r.frontend(f, comment(s.Label(f)), out); err != nil {
			return fmt.Errorf("service %s: %w", s.Key(), err)
		}
	}
	for _, addr := range s.Addresses {
		out.address(addr)
	}
	for _, addr := range s.Elsewhere {
		out.elements[indexOf(addr)][place{setElsewhere, string(addr.AsSlice())}] = value{comment: comment(s.Key())}
	}
	for _, addr := range s.Hairpin {
		bytes := string(addr.AsSlice())
		out.elements[indexOf(addr)][place{setHairpin, bytes + bytes}] = value{}
	}
	return nil
}

// address has the device hold an address.
func (i image) address(addr netip.Addr) {
	at := place{setAddress, string(addr.AsSlice())}
	i.elements[indexOf(addr)][at] = value{}
	if addr.Is4() {
		i.elements[arp][at] = value{}
	}
}

func (r renderer) frontend(f table.Frontend, label string, out image) error {
	elements := out.elements[indexOf(f.Addr)]
	if f.Kind != table.NodePort && !r.node[f.Addr] {
		out.address(f.Addr)
	}
	places := r.places(f)
	for _, key := range places {
		if f.SourceRanges != nil {
			r.ranges(f, key, label, elements)
		}
	}
	if f.Kind == table.NodePort && f.Addr.Is4() && slices.ContainsFunc(places, func(k ipvs.Key) bool { return k.Addr == loopback }) {
		elements[place{setLoopback, portKey(f.Protocol, f.Port)}] = value{}
	}
	switch {
	case f.View == table.Outside:
		refuse(f, label, places, elements, setOutsideRefused, setOutsideDropped)
		return r.aliased(f, label, mapOutside, places, out)
	case f.LocalSocket:
		for _, key := range places {
			elements[place{setSocket, frontendKey(key)}] = value{comment: label}
		}
		refuse(f, label, places, elements, setRefused, setDropped)
		return r.aliased(f, label, mapSocket, places, out)
	}
	for _, key := range places {
		r.server(f, label, key, false, out)
	}
	refuse(f, label, places, elements, setRefused, setDropped)
	return nil
}

// places returns where clients find a frontend.
func (r renderer) places(f table.Frontend) []ipvs.Key {
	key := ipvs.Key{Addr: f.Addr, Protocol: uint8(f.Protocol), Port: f.Port}
	if f.Kind != table.NodePort {
		return []ipvs.Key{key}
	}
	var out []ipvs.Key
	for _, addr := range slices.SortedFunc(maps.Keys(r.node), netip.Addr.Compare) {
		if addr.Is4() == f.Addr.Is4() && r.nodeports.serves(addr) {
			key.Addr = addr
			out = append(out, key)
		}
	}
	return out
}

// aliased gives a frontend a virtual server of another address.
func (r renderer) aliased(f table.Frontend, label, into string, places []ipvs.Key, out image) error {
	if f.Action != table.Forward || len(places) == 0 {
		return nil
	}
	front := aliased{kind: f.Kind, view: f.View, at: ipvs.Key{Addr: f.Addr, Protocol: uint8(f.Protocol), Port: f.Port}}
	alias, ok := r.aliases.of(front, into, places)
	if !ok {
		return fmt.Errorf("%s: %d other frontends of this protocol have an alias for IPVS, and there are no more: use --backend nftables", f, canaryPort-1)
	}
	out.aliases[front] = true
	for _, key := range places {
		out.elements[indexOf(f.Addr)][place{into, frontendKey(key)}] = value{data: aliasData(alias), comment: label}
	}
	r.server(f, label, alias, true, out)
	return nil
}

// server writes a virtual server, and what becomes of packets before they get there.
func (r renderer) server(f table.Frontend, label string, key ipvs.Key, alias bool, out image) {
	elements := out.elements[indexOf(key.Addr)]
	if f.Action == table.Forward {
		set := map[table.Masquerade]string{
			table.Never: setForward, table.FromOutside: setMasqOutside, table.Always: setMasquerade,
		}[f.Masquerade]
		elements[place{set, frontendKey(key)}] = value{comment: label}
	}
	if len(f.Endpoints)+len(f.Draining) == 0 {
		return
	}
	s := server{persistence: f.AffinitySeconds, scheduler: r.scheduler, weights: map[netip.AddrPort]int{}, alias: alias}
	for _, e := range f.Draining {
		s.weights[e] = 0
	}
	for _, e := range f.Endpoints {
		s.weights[e] = 1
	}
	out.servers[key] = s
	elements[place{setVirtual, frontendKey(key)}] = value{comment: label}
}

func refuse(f table.Frontend, label string, places []ipvs.Key, elements map[place]value, reject, drop string) {
	set := map[table.Action]string{table.Reject: reject, table.Drop: drop}[f.Action]
	if set == "" {
		return
	}
	for _, key := range places {
		elements[place{set, frontendKey(key)}] = value{comment: label}
	}
}

// ranges writes which clients a frontend lets in; an empty list lets nobody in. The node's own connections to an address that
// it has come from that address, so that this one is let in where the node is.
func (r renderer) ranges(f table.Frontend, at ipvs.Key, label string, elements map[place]value) {
	key := frontendKey(at)
	elements[place{setRanged, key}] = value{comment: label}
	node, own := false, false
	for _, p := range f.SourceRanges {
		last := p.Masked().Addr().AsSlice()
		for bit := p.Bits(); bit < len(last)*8; bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		first := key + string(p.Masked().Addr().AsSlice())
		elements[place{setAllowed, first}] = value{comment: label, end: key + string(last)}
		own = own || p.Contains(at.Addr)
		for addr := range r.node {
			node = node || !addr.IsLoopback() && p.Contains(addr)
		}
	}
	if node && !own {
		single := key + string(at.Addr.AsSlice())
		elements[place{setAllowed, single}] = value{comment: label, end: single}
	}
}
