// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net/netip"

	"eastwest/internal/kernel/hostnet"
)

// ensureNetwork makes the host's side of the node network.
func ensureNetwork(r *Record) error {
	bridge := hostnet.BridgeName(r.Name)
	if err := hostnet.EnsureBridge(bridge, netip.PrefixFrom(r.Gateway(), r.NodeCIDR.Bits())); err != nil {
		return err
	}
	changes, err := hostnet.WantForwarding([]string{bridge})
	if err != nil {
		return err
	}
	var errs []error
	// The bridge's own switch goes with the bridge, so it is not recorded.
	for _, change := range append(changes, r.Sysctls...) {
		errs = append(errs, change.Apply())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("let the host forward for the nodes: %w", err)
	}
	return hostnet.EnsureMasquerade(r.Name, r.NodeCIDR)
}

// attach joins a node to the network.
func (c *Clusters) attach(r *Record, node Node) error {
	err := hostnet.Attach(hostnet.Attachment{
		Bridge:  hostnet.BridgeName(r.Name),
		Veth:    hostnet.VethName(node.Name),
		NetNS:   c.machine(r, node).NetNS(),
		Address: netip.PrefixFrom(node.Address, r.NodeCIDR.Bits()),
		Gateway: r.Gateway(),
	})
	if err == nil {
		// What a person puts on a node beside its pods, with addresses that only this node knows, gets answers from elsewhere.
		err = hostnet.MasqueradeStrangers(c.machine(r, node).NetNS(), r.NodeCIDR, r.PodCIDR)
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
