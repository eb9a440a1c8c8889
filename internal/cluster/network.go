// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"eastwest/internal/kernel/hostnet"
)

// ensureNetwork makes the host's side of the node network.
func ensureNetwork(r *Record) error {
	bridge := hostnet.BridgeName(r.Name)
	if err := hostnet.EnsureBridge(bridge, onNetworks(r.Gateways(), r.NodeCIDRs)...); err != nil {
		return err
	}
	// The bridge's own switches go with the bridge, so they are not recorded.
	var errs []error
	for _, one := range r.IPFamily.families() {
		changes, err := hostnet.WantForwarding([]string{bridge}, one.ipv6)
		errs = append(errs, err)
		for _, change := range changes {
			errs = append(errs, change.Apply())
		}
	}
	for _, change := range r.Sysctls {
		errs = append(errs, change.Apply())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("let the host forward for the nodes: %w", err)
	}
	return hostnet.EnsureMasquerade(r.Name, r.NodeCIDRs...)
}

// onNetworks are addresses with the lengths of their networks, of which there is one a family.
func onNetworks(addresses []netip.Addr, networks []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for i, address := range addresses {
		out = append(out, netip.PrefixFrom(address, networks[i].Bits()))
	}
	return out
}

// attach joins a node to the network.
func (c *Clusters) attach(r *Record, node Node) error {
	err := hostnet.Attach(hostnet.Attachment{
		Bridge:    hostnet.BridgeName(r.Name),
		Veth:      hostnet.VethName(node.Name),
		NetNS:     c.machine(r, node).NetNS(),
		Addresses: onNetworks(node.Addresses, r.NodeCIDRs),
		Gateways:  r.Gateways(),
	})
	if err == nil {
		// What a person puts on a node beside its pods, with addresses that only this node knows, gets answers from elsewhere.
		err = hostnet.MasqueradeStrangers(c.machine(r, node).NetNS(), slices.Concat(r.NodeCIDRs, r.PodCIDRs)...)
	}
	if err != nil {
		return fmt.Errorf("join node %s to the node network: %w", node.Name, err)
	}
	return nil
}

// removeNetwork removes the host's side by names alone; the record, where there is one, tells the links.
func removeNetwork(name string, r *Record) error {
	var errs []error
	if r != nil {
		for _, node := range r.Nodes {
			errs = append(errs, hostnet.RemoveLink(hostnet.VethName(node.Name)))
		}
	}
	for _, port := range hostnet.Ports(hostnet.BridgeName(name)) {
		errs = append(errs, hostnet.RemoveLink(port))
	}
	errs = append(errs, hostnet.RemoveLink(hostnet.BridgeName(name)), hostnet.RemoveMasquerade(name))
	return errors.Join(errs...)
}
