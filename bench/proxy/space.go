// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"eastwest/bench/traffic"
)

// inside runs fn in a network namespace.
func inside(name string, fn func() error) error { return traffic.Namespace(pinned + name).Do(fn) }

const pinned = "/run/netns/"

// ip runs the program of that name for each line of a script.
func ip(script string) error {
	for line := range strings.Lines(script) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if out, err := exec.Command("ip", fields...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.TrimSpace(line), err, out)
		}
	}
	return nil
}

// lab is a node with two pods, each a namespace. Of other there may be another node, or a machine outside.
type lab struct{ node, client, server, other string }

const (
	clientIP = "10.244.0.9"
	serverIP = "10.244.0.2"
)

func newLab(suffix string) (*lab, error) {
	suffix = fmt.Sprintf("%s-%d", suffix, os.Getpid())
	l := &lab{"ewbench-node-" + suffix, "ewbench-client-" + suffix, "ewbench-server-" + suffix, "ewbench-other-" + suffix}
	script := fmt.Sprintf(`netns add %[1]s
		netns add %[2]s
		netns add %[3]s
		-n %[1]s link set lo up
		-n %[1]s addr add %[4]s/32 dev lo
	`, l.node, l.client, l.server, nodeIP)
	for _, pod := range []struct{ ns, device, addr string }{{l.client, "vclient", clientIP}, {l.server, "vserver", serverIP}} {
		script += fmt.Sprintf(`link add %[2]s netns %[1]s type veth peer name eth0 netns %[3]s
			-n %[1]s link set %[2]s up
			-n %[1]s addr add 169.254.1.1/32 dev %[2]s
			-n %[1]s route add %[4]s/32 dev %[2]s
			-n %[3]s link set lo up
			-n %[3]s link set eth0 up
			-n %[3]s addr add %[4]s/32 dev eth0
			-n %[3]s route add default via 169.254.1.1 dev eth0 onlink
		`, l.node, pod.device, pod.ns, pod.addr)
	}
	if err := ip(script); err != nil {
		l.remove()
		return nil, err
	}
	return l, inside(l.node, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) })
}

// runDir is the folder in which the node's proxy leaves what helps its next start.
func (l *lab) runDir() string { return filepath.Join(os.TempDir(), l.node) }

func (l *lab) remove() {
	os.RemoveAll(l.runDir())
	for _, ns := range []string{l.node, l.client, l.server, l.other} {
		exec.Command("ip", "netns", "del", ns).Run()
	}
}

// separate moves the server to another node, which has no rules.
func (l *lab) separate() error {
	err := ip(fmt.Sprintf(`netns add %[1]s
		-n %[1]s link set lo up
		link add eth0 netns %[1]s type veth peer name eth0 netns %[2]s
		-n %[1]s link set eth0 up
		-n %[2]s link set eth0 up
		-n %[1]s addr add 172.18.0.3/24 dev eth0
		-n %[2]s addr add 172.18.0.1/24 dev eth0
		-n %[2]s link set vserver netns %[1]s
		-n %[1]s link set vserver up
		-n %[1]s addr add 169.254.1.1/32 dev vserver
		-n %[1]s route add %[3]s/32 dev vserver
		-n %[1]s route add %[4]s/32 via 172.18.0.1
		-n %[2]s route add %[3]s/32 via 172.18.0.3
	`, l.other, l.node, serverIP, clientIP))
	if err != nil {
		return err
	}
	return inside(l.other, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) })
}
