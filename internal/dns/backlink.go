// SPDX-License-Identifier: Apache-2.0

package dns

import "net/netip"

// pointer is one name that an address leads back to.
type pointer struct {
	service *service
	host    int32 // of the service's hosts; -1 for a cluster IP
	others  bool  // the address has more names
}

// label returns the endpoint's label, or nothing for a cluster IP.
func (p pointer) label() string {
	if p.host < 0 {
		return ""
	}
	return p.service.hosts[p.host].label
}

// backlinks are the names that an address leads back to.
type backlinks struct {
	first pointer
	more  []pointer
}

func (b backlinks) len() int {
	if b.first.service == nil {
		return 0
	}
	return 1 + len(b.more)
}

func (b backlinks) at(i int) pointer {
	if i == 0 {
		return b.first
	}
	return b.more[i-1]
}

// reverseIndex finds backlinks by address. There are as many addresses as endpoints and hardly one has two names, so the
// indexes hold the first name alone, and what is more stands in one of its own.
type reverseIndex struct {
	v4   *index[[4]byte, pointer]
	v6   *index[[16]byte, pointer]
	more *index[[16]byte, []pointer]
}

func newReverseIndex() *reverseIndex {
	return &reverseIndex{newAddressIndex4[pointer](), newAddressIndex[pointer](), newAddressIndex[[]pointer]()}
}

// get returns what an address, which is not a mapped one, leads back to.
func (x *reverseIndex) get(a netip.Addr) (b backlinks) {
	if a.Is4() {
		b.first, _ = x.v4.get(a.As4())
	} else {
		b.first, _ = x.v6.get(a.As16())
	}
	if b.first.others {
		b.more, _ = x.more.get(a.As16())
	}
	return b
}

// all calls f with every address, in no order.
func (x *reverseIndex) all(f func(netip.Addr, backlinks)) {
	x.v4.all(func(key [4]byte, _ pointer) { a := netip.AddrFrom4(key); f(a, x.get(a)) })
	x.v6.all(func(key [16]byte, _ pointer) { a := netip.AddrFrom16(key); f(a, x.get(a)) })
}

// reverseEdit is a change to the index under way.
type reverseEdit struct {
	v4   *indexEdit[[4]byte, pointer]
	v6   *indexEdit[[16]byte, pointer]
	more *indexEdit[[16]byte, []pointer]
}

func (x *reverseIndex) edit() *reverseEdit {
	return &reverseEdit{x.v4.edit(), x.v6.edit(), x.more.edit()}
}

// commit shows the change to readers: further names first, so that whoever sees that there are some finds them.
func (e *reverseEdit) commit() {
	e.more.commit()
	e.v4.commit()
	e.v6.commit()
}

func (e *reverseEdit) get(a netip.Addr) (list []pointer) {
	var first pointer
	if a.Is4() {
		first, _ = e.v4.get(a.As4())
	} else {
		first, _ = e.v6.get(a.As16())
	}
	if first.service != nil {
		list = append(list, first)
	}
	if first.others {
		more, _ := e.more.get(a.As16())
		list = append(list, more...)
	}
	return list
}

func (e *reverseEdit) set(a netip.Addr, list []pointer) {
	switch more := len(e.get(a)) > 1; {
	case len(list) > 1:
		e.more.set(a.As16(), list[1:])
	case more:
		e.more.delete(a.As16())
	}
	var first pointer
	if len(list) > 0 {
		first = list[0]
		first.others = len(list) > 1
	}
	switch {
	case a.Is4() && len(list) == 0:
		e.v4.delete(a.As4())
	case a.Is4():
		e.v4.set(a.As4(), first)
	case len(list) == 0:
		e.v6.delete(a.As16())
	default:
		e.v6.set(a.As16(), first)
	}
}
