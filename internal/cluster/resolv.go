// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// defaultResolvConf is where a host names its resolvers; a host need not have one.
const defaultResolvConf = "/etc/resolv.conf"

// readResolvers reads a file that names resolvers. One that was asked for has to be there.
func readResolvers(path string) (string, error) {
	text, err := os.ReadFile(path)
	if path == defaultResolvConf && errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the host's resolvers: %w", err)
	}
	return string(text), nil
}

// nodeResolvConf makes a node's resolv.conf from the host's: resolvers that a node cannot reach, those on loopback and those
// of a family that the node network does not have, are left out. Where no other is named, the node asks the relay at the first
// of the gateways instead, and relay is true.
func nodeResolvConf(host string, gateways []netip.Addr) (text string, relay bool) {
	var others, servers []string
	hidden := false
	for line := range strings.Lines(host) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], ";"):
		case fields[0] != "nameserver":
			others = append(others, strings.Join(fields, " "))
		case len(fields) > 1 && !reachable(fields[1], gateways):
			hidden = true
		case len(fields) > 1:
			servers = append(servers, "nameserver "+fields[1])
		}
	}
	if len(servers) == 0 && hidden {
		servers, relay = []string{"nameserver " + gateways[0].String()}, true
	}
	lines := append(servers, others...)
	if len(lines) == 0 {
		return "", relay
	}
	return strings.Join(lines, "\n") + "\n", relay
}

// reachable reports whether a node can reach a resolver of the host. What is no address is left to the node's resolver.
func reachable(server string, gateways []netip.Addr) bool {
	address, err := netip.ParseAddr(server)
	if err != nil {
		return true
	}
	address = address.Unmap()
	return !address.IsLoopback() && !address.IsUnspecified() &&
		slices.ContainsFunc(gateways, func(g netip.Addr) bool { return g.Is6() == address.Is6() })
}

// nameservers lists the addresses of the resolvers in a resolv.conf.
func nameservers(text string) []netip.Addr {
	var found []netip.Addr
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(fields[1]); err == nil {
			found = append(found, address.Unmap())
		}
	}
	return found
}
