// SPDX-License-Identifier: Apache-2.0

// Package socketowner says which process has a port, so that an error can name it.
package socketowner

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Owner is a process that has a socket.
type Owner struct {
	PID     int
	Program string
}

// String returns pid and program.
func (o Owner) String() string { return "pid " + strconv.Itoa(o.PID) + " (" + o.Program + ")" }

// Held reports whether a socket of this network namespace is bound to an address, or to all addresses at its port. network
// is udp or tcp; of TCP only listening sockets count.
func Held(network string, at netip.AddrPort) bool { return len(inodes(network, at)) > 0 }

// Of returns the other processes that have such sockets, by pid; those of other users only for root.
func Of(network string, at netip.AddrPort) []Owner {
	wanted := inodes(network, at)
	if len(wanted) == 0 {
		return nil
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*/fd")
	var owners []Owner
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if err == nil && pid != os.Getpid() && hasSocket(dir, wanted) {
			owners = append(owners, Owner{pid, program(pid)})
		}
	}
	slices.SortFunc(owners, func(a, b Owner) int { return a.PID - b.PID })
	return owners
}

func hasSocket(dir string, wanted map[string]bool) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false // it has ended, or is somebody else's
	}
	for _, entry := range entries {
		link, err := os.Readlink(filepath.Join(dir, entry.Name()))
		inode, ok := strings.CutPrefix(link, "socket:[")
		if err == nil && ok && wanted[strings.TrimSuffix(inode, "]")] {
			return true
		}
	}
	return false
}

func program(pid int) string {
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(name))
}

// Listening returns the ports to which sockets of the calling thread's network namespace are bound, at more than the loopback.
// network is udp or tcp; of TCP only listening sockets count.
func Listening(network string) map[uint16]bool {
	ports := map[uint16]bool{}
	for _, s := range sockets(network) {
		if !s.bound.Addr().Unmap().IsLoopback() {
			ports[s.bound.Port()] = true
		}
	}
	return ports
}

// inodes returns the inodes of the sockets that are bound to an address.
func inodes(network string, at netip.AddrPort) map[string]bool {
	found := map[string]bool{}
	for _, s := range sockets(network) {
		if overlap(s.bound, at) {
			found[s.inode] = true
		}
	}
	return found
}

type socket struct {
	bound netip.AddrPort
	inode string
}

// sockets returns the sockets of the calling thread's network namespace that wait for somebody.
func sockets(network string) (list []socket) {
	for _, table := range []string{network, network + "6"} {
		file, err := os.Open("/proc/thread-self/net/" + table)
		if err != nil {
			continue // a kernel without IPv6
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			const local, remote, state, inode, listening = 1, 2, 3, 9, "0A"
			if len(fields) <= inode || network == "tcp" && fields[state] != listening {
				continue
			}
			if network == "udp" && !strings.HasSuffix(fields[remote], ":0000") {
				continue // a client's
			}
			if bound, ok := parse(fields[local]); ok {
				list = append(list, socket{bound, fields[inode]})
			}
		}
		_ = file.Close()
	}
	return list
}

func overlap(a, b netip.AddrPort) bool {
	x, y := a.Addr().Unmap(), b.Addr().Unmap()
	return a.Port() == b.Port() && (x == y || !x.IsValid() || !y.IsValid() || x.IsUnspecified() || y.IsUnspecified())
}

// parse reads an address as the kernel writes it: words of four bytes, in hexadecimal, each in the order of a little-endian
// machine.
func parse(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	number, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(number)), ok
}
