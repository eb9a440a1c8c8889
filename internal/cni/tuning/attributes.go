// SPDX-License-Identifier: Apache-2.0

package tuning

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
)

// attributes of an interface; what is zero is not touched.
type attributes struct {
	MAC      string `json:"mac,omitempty"`
	Promisc  *bool  `json:"promisc,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
	AllMulti *bool  `json:"allmulti,omitempty"`
	TxQLen   *int   `json:"txQLen,omitempty"`
}

func (a attributes) empty() bool { return a == attributes{} }

// override takes what o has.
func (a *attributes) override(o attributes) {
	if o.MAC != "" {
		a.MAC = o.MAC
	}
	if o.Promisc != nil {
		a.Promisc = o.Promisc
	}
	if o.MTU != 0 {
		a.MTU = o.MTU
	}
	if o.AllMulti != nil {
		a.AllMulti = o.AllMulti
	}
	if o.TxQLen != nil {
		a.TxQLen = o.TxQLen
	}
}

// current returns what an interface has of the attributes that are not zero.
func (a attributes) current(l netlink.Link) attributes {
	attrs := l.Attrs()
	var have attributes
	if a.MAC != "" {
		have.MAC = attrs.HardwareAddr.String()
	}
	if a.Promisc != nil {
		promisc := attrs.Promisc != 0
		have.Promisc = &promisc
	}
	if a.MTU != 0 {
		have.MTU = attrs.MTU
	}
	if a.AllMulti != nil {
		all := attrs.RawFlags&unix.IFF_ALLMULTI != 0
		have.AllMulti = &all
	}
	if a.TxQLen != nil {
		n := attrs.TxQLen
		have.TxQLen = &n
	}
	return have
}

// apply sets the attributes; it goes on after an error.
func (a attributes) apply(h *link.Handle, l netlink.Link) error {
	var failed []error
	try := func(what string, err error) {
		if err != nil {
			failed = append(failed, fmt.Errorf("set %s of %s: %w", what, l.Attrs().Name, err))
		}
	}
	if a.MAC != "" {
		mac, err := net.ParseMAC(a.MAC)
		if err == nil {
			err = h.LinkSetHardwareAddr(l, mac)
		}
		try("hardware address", err)
	}
	if a.Promisc != nil {
		try("promiscuous mode", either(*a.Promisc, h.SetPromiscOn, h.SetPromiscOff)(l))
	}
	if a.MTU != 0 {
		try("MTU", h.LinkSetMTU(l, a.MTU))
	}
	if a.AllMulti != nil {
		try("all-multicast mode", either(*a.AllMulti, h.LinkSetAllmulticastOn, h.LinkSetAllmulticastOff)(l))
	}
	if a.TxQLen != nil {
		try("transmit queue length", h.LinkSetTxQLen(l, *a.TxQLen))
	}
	return errors.Join(failed...)
}

func either(on bool, yes, no func(netlink.Link) error) func(netlink.Link) error {
	if on {
		return yes
	}
	return no
}

// compare returns an error that says how an interface differs.
func (a attributes) compare(l netlink.Link) error {
	have, name := a.current(l), l.Attrs().Name
	var failed []error
	differ := func(what string, want, have any) {
		failed = append(failed, fmt.Errorf("configured %s of %s is %v, current value is %v", what, name, want, have))
	}
	if a.MAC != have.MAC {
		differ("hardware address", a.MAC, have.MAC)
	}
	if a.MTU != have.MTU {
		differ("MTU", a.MTU, have.MTU)
	}
	if a.Promisc != nil && *a.Promisc != *have.Promisc {
		differ("promiscuous mode", *a.Promisc, *have.Promisc)
	}
	if a.AllMulti != nil && *a.AllMulti != *have.AllMulti {
		differ("all-multicast mode", *a.AllMulti, *have.AllMulti)
	}
	if a.TxQLen != nil && *a.TxQLen != *have.TxQLen {
		differ("transmit queue length", *a.TxQLen, *have.TxQLen)
	}
	return errors.Join(failed...)
}
