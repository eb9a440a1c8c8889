// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/table"
)

// aliased is a frontend whose virtual server is at an alias.
type aliased struct {
	kind table.Kind
	view table.View
	at   ipvs.Key
}

// room is what ports are counted in.
type room struct {
	family   int
	protocol uint8
}

func (a aliased) room() room { return room{indexOf(a.at.Addr), a.at.Protocol} }

// allocator gives aliases their ports. What the kernel has stays as it is, so that a restart changes nothing.
type allocator struct {
	kernel   map[place]uint16 // of the maps of aliases, at the last full look
	reserved map[room]map[uint16]bool
	given    map[aliased]uint16
	taken    map[room]map[uint16]bool // of those given
	lowest   map[room]uint16          // none below is free
}

// newAllocator starts with what the kernel has.
func newAllocator(kernel [3]map[place]value) *allocator {
	a := &allocator{
		kernel: map[place]uint16{}, reserved: map[room]map[uint16]bool{}, given: map[aliased]uint16{},
		taken: map[room]map[uint16]bool{}, lowest: map[room]uint16{},
	}
	for family := range aliases {
		for at, v := range kernel[family] {
			key, ok := frontendOf(family, at.key)
			if !ok || at.set != mapOutside && at.set != mapSocket {
				continue
			}
			port := portOf(v)
			a.kernel[at] = port
			add(a.reserved, room{family, key.Protocol}, port)
		}
	}
	return a
}

func add(in map[room]map[uint16]bool, r room, port uint16) {
	if in[r] == nil {
		in[r] = map[uint16]bool{}
	}
	in[r][port] = true
}

func portOf(v value) uint16 {
	n := len(v.data)
	if n < 4 {
		return 0
	}
	return uint16(v.data[n-4])<<8 | uint16(v.data[n-3])
}

// of returns the alias of a frontend that is found at some places; false when there is none left.
func (a *allocator) of(front aliased, in string, places []ipvs.Key) (ipvs.Key, bool) {
	r := front.room()
	alias := ipvs.Key{Addr: aliases[r.family], Protocol: r.protocol}
	if port, ok := a.given[front]; ok {
		alias.Port = port
		return alias, true
	}
	for _, key := range places {
		if port := a.kernel[place{in, frontendKey(key)}]; port != 0 && !a.taken[r][port] {
			alias.Port = port
			a.give(front, port)
			return alias, true
		}
	}
	for port := max(1, a.lowest[r]); port < canaryPort; port++ {
		if !a.taken[r][port] && !a.reserved[r][port] {
			alias.Port = port
			a.lowest[r] = port
			a.give(front, port)
			return alias, true
		}
	}
	return ipvs.Key{}, false
}

func (a *allocator) give(front aliased, port uint16) {
	a.given[front] = port
	add(a.taken, front.room(), port)
}

// settle forgets what the kernel had and no frontend took.
func (a *allocator) settle() {
	clear(a.kernel)
	clear(a.reserved)
	clear(a.lowest)
}

// free gives an alias back.
func (a *allocator) free(front aliased) {
	r, port := front.room(), a.given[front]
	delete(a.taken[r], port)
	delete(a.given, front)
	a.lowest[r] = min(a.lowest[r], port)
}
