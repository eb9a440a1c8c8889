// SPDX-License-Identifier: Apache-2.0

package hostlocal

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// resolvConfLimit bounds what is read of a resolv.conf file.
const resolvConfLimit = 1 << 20

func readResolvConf(path string) (types.DNS, error) {
	f, err := os.Open(path)
	if err != nil {
		return types.DNS{}, fmt.Errorf("read resolvConf: %w", err)
	}
	defer f.Close()
	dns, err := parseResolvConf(io.LimitReader(f, resolvConfLimit))
	if err != nil {
		return dns, fmt.Errorf("read resolvConf %s: %w", path, err)
	}
	return dns, nil
}

// parseResolvConf reads resolv.conf(5): name servers, search list, options and domain.
func parseResolvConf(r io.Reader) (types.DNS, error) {
	var dns types.DNS
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		switch values := fields[1:]; fields[0] {
		case "nameserver":
			dns.Nameservers = append(dns.Nameservers, values[0])
		case "domain":
			dns.Domain = values[0]
		case "search":
			dns.Search = append(dns.Search, values...)
		case "options":
			dns.Options = append(dns.Options, values...)
		}
	}
	return dns, lines.Err()
}
