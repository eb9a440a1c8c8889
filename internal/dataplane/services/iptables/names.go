// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// Names of chains are those of kube-proxy, down to how they are hashed, so that what people know about them holds.
const (
	chainServices    = "KUBE-SERVICES"
	chainExternal    = "KUBE-EXTERNAL-SERVICES"
	chainNodePorts   = "KUBE-NODEPORTS"
	chainPostrouting = "KUBE-POSTROUTING"
	chainMark        = "KUBE-MARK-MASQ"
	chainForward     = "KUBE-FORWARD"
	chainFirewall    = "KUBE-PROXY-FIREWALL"
	chainOutside     = "KUBE-MARK-OUTSIDE" // ours: marks clients that are in none of several pod ranges
	chainSockets     = "KUBE-LOCAL-SOCKETS"
	chainAnswers     = "KUBE-LOCAL-ANSWERS"
	chainGuard       = "KUBE-LOOPBACK-GUARD" // ours: where the loopback serves node ports
	chainTrial       = "KUBE-TRIAL"          // ours: nothing leads there; see Probe

	prefixCluster  = "KUBE-SVC-" // all endpoints
	prefixLocal    = "KUBE-SVL-" // those that traffic policy Local leaves
	prefixExternal = "KUBE-EXT-"
	prefixRanges   = "KUBE-FW-"
	prefixEndpoint = "KUBE-SEP-"
)

// Canaries returns a chain of each table that always has rules: when one is gone or empty, somebody flushed the table.
func Canaries() map[string]string {
	return map[string]string{nat: chainPostrouting, filter: chainForward}
}

var fixedChains = []string{
	chainServices, chainExternal, chainNodePorts, chainPostrouting, chainMark, chainForward, chainFirewall, chainOutside, chainSockets, chainAnswers, chainGuard, chainTrial,
}

var prefixes = []string{prefixCluster, prefixLocal, prefixExternal, prefixRanges, prefixEndpoint}

// ours reports whether a chain is this backend's, or kube-proxy's, which is the same.
func ours(chain string) bool {
	for _, name := range fixedChains {
		if chain == name {
			return true
		}
	}
	for _, prefix := range prefixes {
		if strings.HasPrefix(chain, prefix) {
			return true
		}
	}
	return false
}

// hashed returns a chain's name: the prefix and 16 letters of a hash over the port's label, the protocol and, for an
// endpoint's chain, its address and port.
func hashed(prefix, label, protocol, endpoint string) string {
	sum := sha256.Sum256([]byte(label + protocol + endpoint))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:16]
}
