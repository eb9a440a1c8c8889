// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"eastwest/internal/dataplane/handover"
	"eastwest/internal/dataplane/services/iptables"
	"eastwest/internal/dataplane/services/nftables"
	ipt "eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/nft"
)

// handOver has a services backend go on from what the one before it left, and leave that for the next; following is nil where the
// kernel cannot say whether it was changed meanwhile: it numbers the transactions of nftables alone.
func (n *Network) handOver(backend carrier, tables *nft.Conn, chains *ipt.Conn) (all carrier, following *handover.Backend) {
	config := handover.Config{Log: n.config.Log}
	node := n.config.servicesNode()
	node.ServiceCIDRs = nil // these change, and backends leave with what they wrote which it was for
	form := fmt.Sprintf("%s %+v", n.config.Backend, node)
	switch n.config.Backend {
	case Backends()[0]:
		config.Ledger = tables.Ledger(nftables.TableName)
	case "iptables":
		version, err := chains.Version(context.Background())
		if err != nil || !version.InNftables() {
			return backend, nil
		}
		config.Ledger = iptables.Ledger(chains)
		form += " " + string(version)
	default:
		return backend, nil
	}
	place, err := netns.Identity(n.config.Netns)
	build, unknown := handover.Build()
	if err == nil && unknown == nil && n.config.RunDir != "" {
		config.File, config.Place, config.Form = n.config.left(), place, build+" "+form
	}
	following = handover.Around(backend.(handover.Carrier), config)
	return following, following
}

// left is the file in which services are left for the next start.
func (c NetworkConfig) left() string { return filepath.Join(c.RunDir, "services.image") }

// forget removes it.
func (c NetworkConfig) forget() error {
	if c.RunDir == "" {
		return nil
	}
	if err := os.Remove(c.left()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove what was left for the next start: %w", err)
	}
	return nil
}
