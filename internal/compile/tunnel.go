// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// Overlay says which nodes are reached inside VXLAN.
type Overlay string

// The overlays. The zero value is OverlayNone.
const (
	OverlayNone  Overlay = "none"  // all nodes are on one network
	OverlayVXLAN Overlay = "vxlan" // every packet between nodes' pods is encapsulated
	OverlayAuto  Overlay = "auto"  // those to nodes behind a router are
)

// ParseOverlay reads what a person wrote.
func ParseOverlay(text string) (Overlay, error) {
	switch o := Overlay(text); o {
	case OverlayNone, OverlayVXLAN, OverlayAuto:
		return o, nil
	}
	return "", fmt.Errorf("overlay %q: expected none, vxlan or auto", text)
}

// Any reports whether some node may be reached inside VXLAN.
func (o Overlay) Any() bool { return o == OverlayVXLAN || o == OverlayAuto }

// Tunnels compiles the ends of the overlay; none where there is no overlay, or while this node has no pod CIDR.
func Tunnels(now snapshot.Snapshot, config Config) map[string]table.Tunnel {
	own, ok := now.Nodes.Get(config.NodeName)
	if !ok || len(own.PodCIDRs) == 0 || !config.Overlay.Any() || len(config.NodeIPs) == 0 {
		return nil
	}
	rows := map[string]table.Tunnel{}
	for _, node := range now.Nodes.All() {
		row := table.Tunnel{Object: table.Object{Kind: "Node", Name: node.Name}, MAC: endMAC(node.Name), Address: underlay(config, node)}
		if row.Self = node == own; row.Self {
			row.Address = config.NodeIPs[0]
		}
		if row.Address.IsValid() {
			rows[node.Name] = row
		}
	}
	owner := owners(now)
	for _, prefix := range sortedPrefixes(slices.Collect(maps.Keys(owner))) {
		node := owner[prefix]
		if row, ok := rows[node.Name]; ok && (row.Self || tunnelled(now, config, node)) {
			row.Pods = append(row.Pods, prefix)
			rows[node.Name] = row
		}
	}
	return rows
}

// tunnelled reports whether a node's pods are reached inside VXLAN.
func tunnelled(now snapshot.Snapshot, config Config, node *snapshot.Node) bool {
	if !config.Overlay.Any() || node.Name == config.NodeName {
		return false
	}
	if config.Overlay == OverlayVXLAN {
		return true
	}
	address := underlay(config, node)
	for _, network := range now.OnLink {
		if network.Contains(address) {
			return false
		}
	}
	return true
}

// underlay returns a node's address in the family that the overlay's packets travel in: that of this node's first address.
func underlay(config Config, node *snapshot.Node) netip.Addr {
	for _, address := range node.Addrs {
		if len(config.NodeIPs) > 0 && address.Is6() == config.NodeIPs[0].Is6() {
			return address
		}
	}
	return netip.Addr{}
}

// endMAC makes the hardware address of a node's end from its name, so that nobody has to announce it, and a node that
// changes its address keeps it: locally administered, unicast.
func endMAC(node string) table.MAC {
	sum := sha256.Sum256([]byte("eastwest vxlan " + node))
	mac := table.MAC(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}
