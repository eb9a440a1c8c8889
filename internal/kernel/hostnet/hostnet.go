// SPDX-License-Identifier: Apache-2.0

// Package hostnet joins local nodes to the machine they run on: a bridge with an address, a veth pair for each node,
// forwarding and masquerading of what leaves the node network, and the look-around that finds a free address range.
//
// Everything it makes has a name derived from the cluster's, so it can be removed without any record.
package hostnet

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxLinkName is the kernel's longest link name (IFNAMSIZ less the final zero).
const maxLinkName = 15

// BridgeName is the name of a cluster's bridge: ew-CLUSTER, or a hash where that is too long.
func BridgeName(cluster string) string {
	if name := "ew-" + cluster; len(name) <= maxLinkName {
		return name
	}
	return "ew-" + hash(cluster, 12)
}

// VethName is the name of the host's end of a node's link.
func VethName(node string) string { return "ewn" + hash(node, 12) }

func hash(text string, digits int) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:digits]
}

// hardwareAddress is a locally administered address derived from text. A bridge with an address of its own does not
// change it whenever a port comes or goes, which would leave nodes with a stale neighbour.
func hardwareAddress(text string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(text))
	return net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

// EnsureBridge makes the bridge, gives it the addresses (with their networks' lengths) and brings it up. A bridge that is
// there already is completed.
func EnsureBridge(name string, addresses ...netip.Prefix) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, hardwareAddress(name)
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !isExist(err) {
		return fmt.Errorf("create bridge %s: %w", name, err)
	}
	bridge, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", name, err)
	}
	if err := prepareIPv6(name, addresses); err != nil {
		return fmt.Errorf("prepare bridge %s: %w", name, err)
	}
	for _, address := range addresses {
		if err := netlink.AddrReplace(bridge, addressOf(address)); err != nil {
			return fmt.Errorf("give bridge %s the address %s: %w", name, address, err)
		}
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("bring bridge %s up: %w", name, err)
	}
	return nil
}

// HasLink reports whether the host has a link of this name.
func HasLink(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

// RemoveLink deletes a link; one that is not there is no error. The other end of a veth pair goes with it.
func RemoveLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil && !isGone(err) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// addressOf is an address to give to a link. They come from a plan, so no duplicates are looked for.
func addressOf(prefix netip.Prefix) *netlink.Addr {
	address := &netlink.Addr{IPNet: ipNet(prefix)}
	if prefix.Addr().Is6() {
		address.Flags = unix.IFA_F_NODAD
	}
	return address
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}

// Ports names the links that are enslaved to a bridge; a bridge that is not there has none.
func Ports(bridge string) []string {
	master, err := netlink.LinkByName(bridge)
	if err != nil {
		return nil
	}
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil
	}
	var ports []string
	for _, link := range links {
		if link.Attrs().MasterIndex == master.Attrs().Index {
			ports = append(ports, link.Attrs().Name)
		}
	}
	return ports
}
