// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/route"
)

func run(t *testing.T, ns, command string) {
	t.Helper()
	netnstest.In(t, ns, func() error {
		fields := strings.Fields(command)
		out, err := exec.Command(fields[0], fields[1:]...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return err
	})
}

// The networks that a machine is on are those of its interfaces, not the pods at its veths and nothing behind a router;
// they are told again when an address comes or goes.
func TestOnLinkFollowsAddresses(t *testing.T) {
	ns := netnstest.New(t)
	run(t, ns, "ip link add eth0 type veth peer name other")
	run(t, ns, "ip link set eth0 up")
	run(t, ns, "ip link set other up")
	run(t, ns, "ip addr add 192.0.2.11/24 dev eth0")
	run(t, ns, "ip route add 10.244.1.2 dev eth0")
	run(t, ns, "ip route add 198.51.100.0/24 via 192.0.2.1")
	conn := route.New(ns)
	ctx, stop := context.WithCancel(t.Context())
	told, done := make(chan []netip.Prefix, 16), make(chan struct{})
	go func() { _ = conn.WatchOnLink(ctx, func(list []netip.Prefix) { told <- list }); close(done) }()
	defer func() { stop(); <-done }()
	await := func(want string) {
		t.Helper()
		for list := range told {
			if fmt.Sprint(list) == want {
				return
			}
		}
	}
	await("[192.0.2.0/24]")
	run(t, ns, "ip addr add 203.0.113.5/25 dev eth0")
	await("[192.0.2.0/24 203.0.113.0/25]")
	run(t, ns, "ip addr del 203.0.113.5/25 dev eth0")
	await("[192.0.2.0/24]")
}
