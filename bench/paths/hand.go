// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"eastwest/bench/traffic"
)

const pinned = "/run/netns/"

// host is one of two, with one pod.
type host struct {
	name, pod     string // namespaces
	address       string
	gateway, from string // of pods; from is the host's address inside VXLAN
	pods, podAt   string
	hardware      string // of its VXLAN device
}

// attacher connects a pod to its host and returns the pod's address.
type attacher interface {
	attach(h host, mtu int) (netip.Addr, error)
}

// byHand makes two hosts on one bridge. tag tells its names from those of others.
func byHand(name, tag, overlay string, how attacher) (path, error) {
	hosts := [2]host{}
	for i := range hosts {
		hosts[i] = host{
			name: fmt.Sprintf("ewpath%s-host%d", tag, i), pod: fmt.Sprintf("ewpath%s-pod%d", tag, i), address: fmt.Sprintf("198.18.0.%d", i+1),
			gateway: fmt.Sprintf("198.19.%d.1", i), from: fmt.Sprintf("198.19.%d.0", i), pods: fmt.Sprintf("198.19.%d.0/24", i),
			podAt: fmt.Sprintf("198.19.%d.2", i), hardware: fmt.Sprintf("02:00:00:00:00:0%d", i+1),
		}
	}
	bridge := "ewpath" + tag
	p := path{
		name: name, client: traffic.Namespace(pinned + hosts[0].pod), server: traffic.Namespace(pinned + hosts[1].pod),
		remove: func() error { return removeHosts(bridge, hosts) },
	}
	if err := run("ip", fmt.Sprintf("link add %s type bridge\n link set %s up\n", bridge, bridge)); err != nil {
		return p, err
	}
	for i, h := range hosts {
		if err := makeHost(h, bridge, fmt.Sprintf("%s-%d", bridge, i)); err != nil {
			return p, err
		}
	}
	mtu := 1500
	if overlay == "vxlan" {
		mtu = 1450
	}
	for i, h := range hosts {
		if err := routeTo(h, hosts[1-i], overlay); err != nil {
			return p, err
		}
		at, err := how.attach(h, mtu)
		if err != nil {
			return p, err
		}
		p.to = at // the last one's is the server's
	}
	return p, nil
}

// tracked is the path by hand on hosts that track connections, as every node of a cluster with Services does.
func tracked(name, tag, overlay string) (path, error) {
	p, err := byHand(name, tag, overlay, ipAttacher{})
	if err != nil {
		return p, err
	}
	for i := range 2 {
		c := exec.Command("ip", "netns", "exec", fmt.Sprintf("ewpath%s-host%d", tag, i), "nft", "-f", "-")
		c.Stdin = strings.NewReader("table inet tracked { chain forward { type filter hook forward priority 0; ct state invalid drop; }; }")
		if out, err := c.CombinedOutput(); err != nil {
			return p, fmt.Errorf("track connections: %w: %s", err, out)
		}
	}
	return p, nil
}

func makeHost(h host, bridge, port string) error {
	err := run("ip", fmt.Sprintf(`netns add %[1]s
		netns add %[2]s
		link add %[3]s type veth peer name eth0 netns %[1]s
		link set %[3]s master %[4]s
		link set %[3]s up
		-n %[1]s link set lo up
		-n %[2]s link set lo up
		-n %[1]s addr add %[5]s/24 dev eth0
		-n %[1]s link set eth0 up
	`, h.name, h.pod, port, bridge, h.address))
	if err != nil {
		return err
	}
	return traffic.Namespace(pinned + h.name).Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	})
}

// routeTo leads to the other host's pods.
func routeTo(h, other host, overlay string) error {
	if overlay != "vxlan" {
		return run("ip", fmt.Sprintf("-n %s route add %s via %s\n", h.name, other.pods, other.address))
	}
	err := run("ip", fmt.Sprintf(`-n %[1]s link add vx0 address %[2]s type vxlan id 7 local %[3]s dev eth0 dstport 4789 nolearning
		-n %[1]s addr add %[4]s/32 dev vx0
		-n %[1]s link set vx0 up
		-n %[1]s neigh add %[5]s lladdr %[6]s dev vx0 nud permanent
		-n %[1]s route add %[7]s via %[5]s dev vx0 onlink
	`, h.name, h.hardware, h.address, h.from, other.from, other.hardware, other.pods))
	if err != nil {
		return err
	}
	return run("bridge", fmt.Sprintf("-n %s fdb add %s dev vx0 dst %s\n", h.name, other.hardware, other.address))
}

// ipAttacher makes a cable as the plugin ptp does.
type ipAttacher struct{}

func (ipAttacher) attach(h host, mtu int) (netip.Addr, error) {
	err := run("ip", fmt.Sprintf(`link add pod0 netns %[1]s mtu %[5]d type veth peer name eth0 netns %[2]s mtu %[5]d
		-n %[1]s addr add %[3]s/32 dev pod0
		-n %[1]s link set pod0 up
		-n %[1]s route add %[4]s/32 dev pod0
		-n %[2]s addr add %[4]s/32 dev eth0
		-n %[2]s link set eth0 up
		-n %[2]s route add %[3]s/32 dev eth0
		-n %[2]s route add default via %[3]s dev eth0
	`, h.name, h.pod, h.gateway, h.podAt, mtu))
	return netip.MustParseAddr(h.podAt), err
}

// run runs a program for each line of a script.
func run(program, script string) error {
	for line := range strings.Lines(script) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if out, err := exec.Command(program, fields...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", program, strings.TrimSpace(line), err, out)
		}
	}
	return nil
}

func removeHosts(bridge string, hosts [2]host) error {
	var errs []error
	// Ports go with their namespaces, but later.
	for _, device := range []string{bridge + "-0", bridge + "-1", bridge} {
		if _, err := os.Stat("/sys/class/net/" + device); err == nil {
			errs = append(errs, run("ip", "link del "+device+"\n"))
		}
	}
	for _, h := range hosts {
		for _, ns := range []string{h.pod, h.name} {
			if _, err := os.Stat(pinned + ns); err == nil {
				errs = append(errs, run("ip", "netns del "+ns+"\n"))
			}
		}
	}
	return errors.Join(errs...)
}
