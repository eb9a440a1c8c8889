// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
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

// nodeResolvConf makes a node's resolv.conf from the host's: loopback resolvers, which a node cannot reach, are left out.
// Where no other is named, the node asks the relay at gateway instead, and relay is true.
func nodeResolvConf(host string, gateway netip.Addr) (text string, relay bool) {
	var others, servers []string
	loopback := false
	for line := range strings.Lines(host) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], ";"):
		case fields[0] != "nameserver":
			others = append(others, strings.Join(fields, " "))
		case len(fields) > 1 && isLoopback(fields[1]):
			loopback = true
		case len(fields) > 1:
			servers = append(servers, "nameserver "+fields[1])
		}
	}
	if len(servers) == 0 && loopback {
		servers, relay = []string{"nameserver " + gateway.String()}, true
	}
	lines := append(servers, others...)
	if len(lines) == 0 {
		return "", relay
	}
	return strings.Join(lines, "\n") + "\n", relay
}

func isLoopback(server string) bool {
	address, err := netip.ParseAddr(server)
	return err == nil && (address.Unmap().IsLoopback() || address.IsUnspecified())
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
