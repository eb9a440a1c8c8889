// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"bufio"
	"bytes"
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

// ParseSearch returns the search path of a resolv.conf.
func ParseSearch(r io.Reader) (search []string) {
	lines := bufio.NewScanner(io.LimitReader(r, maxFileBytes))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && (fields[0] == "search" || fields[0] == "domain") {
			search = fields[1:] // the last line counts
		}
	}
	return search
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

// readFile returns the servers and the search path of the file at path; none if it cannot be read.
func readFile(path string) (servers []netip.AddrPort, search []string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes))
	return ParseResolvConf(bytes.NewReader(text)), ParseSearch(bytes.NewReader(text)), err
}
