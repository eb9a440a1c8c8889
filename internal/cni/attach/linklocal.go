// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/sysctl"
)

// HasLinkLocal reports whether a link has the IPv6 address without which the kernel solicits no neighbours for packets that it forwards, or
// has none for a reason: it is not running, or IPv6 or the making of such addresses is switched off.
func HasLinkLocal(l netlink.Link, addresses []netlink.Addr) bool {
	if l.Attrs().Flags&net.FlagRunning == 0 || slices.ContainsFunc(addresses, func(a netlink.Addr) bool { return !IsV4(a.IP) && a.IP.IsLinkLocalUnicast() }) {
		return true
	}
	const byHardwareAddress = "0"
	settings := "net/ipv6/conf/" + l.Attrs().Name
	mode, err := sysctl.Get(settings + "/addr_gen_mode")
	off, errOff := sysctl.Get(settings + "/disable_ipv6")
	return errors.Join(err, errOff) != nil || mode != byHardwareAddress || off != "0"
}

// EnsureLinkLocal gives a link the address that the kernel does when it comes up, if it lacks it.
func EnsureLinkLocal(h *link.Handle, l netlink.Link) error {
	have, err := h.AddrList(l, netlink.FAMILY_V6)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	mac := l.Attrs().HardwareAddr
	if len(mac) != 6 || HasLinkLocal(l, have) {
		return nil
	}
	address := LinkLocal(mac)
	add := &netlink.Addr{IPNet: &net.IPNet{IP: address, Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD, Scope: unix.RT_SCOPE_LINK}
	if err := h.AddrAdd(l, add); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s to %s: %w", address, l.Attrs().Name, err)
	}
	return nil
}

// LinkLocal is the address that a kernel gives itself on a link with a hardware address of six bytes (RFC 4291, appendix A).
func LinkLocal(mac net.HardwareAddr) net.IP {
	return net.IP{0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
}
