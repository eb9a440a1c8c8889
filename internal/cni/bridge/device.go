// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/attach"
	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/sysctl"
)

// ensureBridge returns the bridge of the configuration, up; it makes it if it is not there.
func ensureBridge(h *link.Handle, c *config) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = c.Bridge, c.MTU
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make bridge %s: %w", c.Bridge, err)
	}
	br, err := h.LinkByName(c.Bridge)
	if err != nil {
		return nil, fmt.Errorf("look up bridge %s: %w", c.Bridge, err)
	}
	if br.Type() != "bridge" {
		return nil, fmt.Errorf("%q already exists but is not a bridge", c.Bridge)
	}
	if c.tagged() {
		if err := filterVLANs(h, br); err != nil {
			return nil, err
		}
	}
	if c.PromiscMode {
		if err := h.SetPromiscOn(br); err != nil {
			return nil, fmt.Errorf("set bridge %s promiscuous: %w", c.Bridge, err)
		}
	}
	if err := sysctl.Ensure("net/ipv6/conf/"+c.Bridge+"/accept_ra", "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := h.LinkSetUp(br); err != nil {
		return nil, fmt.Errorf("set bridge %s up: %w", c.Bridge, err)
	}
	return br, nil
}

// enslave makes the host's end of a pair a port of the bridge.
func enslave(h *link.Handle, port, br netlink.Link, c *config) error {
	name := port.Attrs().Name
	if err := h.LinkSetMaster(port, br); err != nil {
		return fmt.Errorf("connect %s to bridge %s: %w", name, c.Bridge, err)
	}
	if c.HairpinMode {
		if err := h.LinkSetHairpin(port, true); err != nil {
			return fmt.Errorf("set hairpin mode of %s: %w", name, err)
		}
	}
	if c.PortIsolation {
		if err := h.LinkSetIsolated(port, true); err != nil {
			return fmt.Errorf("isolate %s: %w", name, err)
		}
	}
	if c.tagged() {
		return joinVLANs(h, port, c.VLAN, c.trunks, c.keepsDefault())
	}
	return nil
}

// ensureAddress gives the bridge a gateway's address. A bridge has one address of a subnet, and one of IPv4 at all:
// another is replaced if the configuration says so, else it is an error.
func ensureAddress(h *link.Handle, br netlink.Link, want net.IPNet, force bool) error {
	family := netlink.FAMILY_V6
	if attach.IsV4(want.IP) {
		family = netlink.FAMILY_V4
	}
	have, err := h.AddrList(br, family)
	if err != nil {
		return err
	}
	for _, a := range have {
		if a.IPNet.String() == want.String() {
			return nil
		}
		if family == netlink.FAMILY_V6 && !a.Contains(want.IP) && !want.Contains(a.IP) {
			continue
		}
		if !force {
			return fmt.Errorf("%q already has an IP address different from %s: %s", br.Attrs().Name, want.String(), a.IPNet)
		}
		if err := h.AddrDel(br, &netlink.Addr{IPNet: a.IPNet}); err != nil {
			return fmt.Errorf("remove address %s from bridge %s: %w", a.IPNet, br.Attrs().Name, err)
		}
	}
	flags := 0
	if family == netlink.FAMILY_V6 {
		flags = unix.IFA_F_NODAD
	}
	if err := h.AddrAdd(br, &netlink.Addr{IPNet: &want, Flags: flags}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s to bridge %s: %w", want.String(), br.Attrs().Name, err)
	}
	return keepMAC(h, br)
}

// keepMAC sets the bridge's hardware address to what it was before it had ports: otherwise it becomes that of whichever
// port has the lowest, and neighbours that know the gateway lose it when ports come and go. A bridge that lost its last
// port before has none.
func keepMAC(h *link.Handle, br netlink.Link) error {
	address := br.Attrs().HardwareAddr
	if !slices.ContainsFunc(address, func(b byte) bool { return b != 0 }) {
		address = attach.RandomMAC()
	}
	if err := h.LinkSetHardwareAddr(br, address); err != nil {
		return fmt.Errorf("keep hardware address of bridge %s: %w", br.Attrs().Name, err)
	}
	return nil
}

// How long the kernel may take to see that both ends of a cable are up, and how often its state is looked at.
const (
	portTime = 3 * time.Second
	portPoll = time.Millisecond
)

// awaitPort waits until a port is in operation. The kernel notes a moment after both ends are up that there is a carrier; until then
// the bridge does not forward to the port.
func awaitPort(h *link.Handle, name string) error {
	for deadline := time.Now().Add(portTime); ; time.Sleep(portPoll) {
		port, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("look up %s: %w", name, err)
		}
		state := port.Attrs().OperState
		if state == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("bridge port in error state: %s is %s after %s", name, state, portTime)
		}
	}
}
