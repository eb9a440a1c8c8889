// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
)

// NodeLink is the name of a node's link to the node network, as the node sees it.
const NodeLink = "eth0"

// Attachment joins one node to the bridge.
type Attachment struct {
	// Bridge is the bridge's name on the host, Veth the name of the host's end of the pair.
	Bridge, Veth string
	// NetNS is the path of the node's network namespace.
	NetNS string
	// Addresses are the node's, one a family, each with its network's length.
	Addresses []netip.Prefix
	// Gateways are the bridge's addresses, in the same order.
	Gateways []netip.Addr
}

// Attach joins the node to the bridge: eth0 with its addresses and default routes, and loopback, up. What is there already
// is completed.
func Attach(a Attachment) error {
	if err := a.addPair(); err != nil {
		return err
	}
	prepare := func() error { return errors.Join(prepareIPv6(NodeLink, a.Addresses), forwardAll()) }
	if err := netns.Do(a.NetNS, prepare); err != nil {
		return fmt.Errorf("prepare the node's network: %w", err)
	}
	ns, err := os.Open(a.NetNS)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", a.NetNS, err)
	}
	defer ns.Close()
	node, err := openIn(ns)
	if err != nil {
		return err
	}
	defer node.Close()
	return a.configure(node)
}

// addPair makes the veth pair with its far end in the node at once: no moment in which the host has an eth0 too many.
func (a Attachment) addPair() error {
	ns, err := os.Open(a.NetNS)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", a.NetNS, err)
	}
	defer ns.Close()
	bridge, err := netlink.LinkByName(a.Bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", a.Bridge, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex, attrs.MTU = a.Veth, bridge.Attrs().Index, bridge.Attrs().MTU
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: NodeLink, PeerNamespace: netlink.NsFd(int(ns.Fd())), PeerMTU: uint32(attrs.MTU)}
	if err := netlink.LinkAdd(pair); err != nil && !isExist(err) {
		return fmt.Errorf("create the link %s between bridge %s and node: %w", a.Veth, a.Bridge, err)
	}
	link, err := netlink.LinkByName(a.Veth)
	if err != nil {
		return fmt.Errorf("find link %s: %w", a.Veth, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring link %s up: %w", a.Veth, err)
	}
	return nil
}

func (a Attachment) configure(node *netlink.Handle) error {
	lo, err := node.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the node's loopback: %w", err)
	}
	eth, err := node.LinkByName(NodeLink)
	if err != nil {
		return fmt.Errorf("find the node's link %s: %w", NodeLink, err)
	}
	for _, address := range a.Addresses {
		if err := node.AddrReplace(eth, addressOf(address)); err != nil {
			return fmt.Errorf("give the node its address %s: %w", address, err)
		}
	}
	if err := errors.Join(node.LinkSetUp(lo), node.LinkSetUp(eth)); err != nil {
		return fmt.Errorf("bring the node's links up: %w", err)
	}
	for _, gateway := range a.Gateways {
		route := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway.AsSlice()}
		if err := node.RouteReplace(route); err != nil {
			return fmt.Errorf("route the node's traffic by %s: %w", gateway, err)
		}
	}
	return nil
}

func isExist(err error) bool { return errors.Is(err, unix.EEXIST) }

func isGone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.As(err, &netlink.LinkNotFoundError{})
}
