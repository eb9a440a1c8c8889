// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Bounds of what is read of a resolv.conf.
const (
	maxServers   = 8
	maxFileBytes = 1 << 16
)

// ParseResolvConf returns the servers that a resolv.conf names, port 53. Lines that it cannot read are passed over, as
// the C library does.
func ParseResolvConf(r io.Reader) []netip.AddrPort {
	var servers []netip.AddrPort
	lines := bufio.NewScanner(io.LimitReader(r, maxFileBytes))
	for lines.Scan() && len(servers) < maxServers {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr, 53))
		}
	}
	return servers
}

// fileState tells one version of a file from the next.
type fileState struct {
	size    int64
	changed time.Time
	there   bool
}

func stateOf(path string) fileState {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}
	}
	return fileState{info.Size(), info.ModTime(), true}
}

// readServers returns the servers of the file at path; none if it cannot be read.
func readServers(path string) ([]netip.AddrPort, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return ParseResolvConf(file), nil
}
