// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// losses tells what the kernel counted of packets that it dropped: connections that it could not track or translate, queues that
// overflowed, clients that are still waited on.
func (l *lab) losses() string {
	var out []string
	for _, place := range []struct{ what, ns string }{{"node", l.node}, {"server", l.server}, {"pod", l.client}, {"outside", l.other}} {
		if place.ns == "" {
			continue
		}
		inside(place.ns, func() error {
			for name, count := range tracked() {
				out = append(out, fmt.Sprintf("%s %s %d", place.what, name, count))
			}
			for name, count := range counted() {
				out = append(out, fmt.Sprintf("%s %s %d", place.what, name, count))
			}
			return nil
		})
	}
	if len(out) == 0 {
		return "nothing"
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// tracked sums what connection tracking counts on each processor.
func tracked() map[string]uint64 {
	text, _ := os.ReadFile("/proc/thread-self/net/stat/nf_conntrack")
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	names, out := strings.Fields(lines[0]), map[string]uint64{}
	for _, line := range lines[1:] {
		for i, field := range strings.Fields(line) {
			if i < len(names) && slices.Contains([]string{"insert_failed", "drop", "early_drop", "icmp_error", "clash_resolve"}, names[i]) {
				if n, err := strconv.ParseUint(field, 16, 64); err == nil && n > 0 {
					out[names[i]] += n
				}
			}
		}
	}
	return out
}

// counted reads net/snmp and netstat, where a line of names comes before one of numbers.
func counted() map[string]uint64 {
	interesting := []string{"ListenOverflows", "ListenDrops", "TCPRcvQDrop", "TCPTimeouts", "TCPSynRetrans", "TCPACKSkippedTimeWait", "PAWSActive", "PAWSTimewait",
		"RcvbufErrors", "SndbufErrors", "InDiscards", "OutDiscards", "OutNoRoutes"}
	out := map[string]uint64{}
	for _, file := range []string{"/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"} {
		text, _ := os.ReadFile(file)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		for i := 0; i+1 < len(lines); i += 2 {
			names, numbers := strings.Fields(lines[i]), strings.Fields(lines[i+1])
			for j := 1; j < min(len(names), len(numbers)); j++ {
				if n, err := strconv.ParseUint(numbers[j], 10, 64); err == nil && n > 0 && slices.Contains(interesting, names[j]) {
					out[strings.TrimSuffix(names[0], ":")+names[j]] = n
				}
			}
		}
	}
	return out
}
