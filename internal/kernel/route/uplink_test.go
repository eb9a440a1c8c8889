// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"context"
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/route"
)

// The address of a machine is that of its preferred default route, and is told again when it changes.
func TestUplinkAddressFollowsTheDefaultRoute(t *testing.T) {
	ns := netnstest.New(t)
	conn := route.New(ns)
	run(t, ns, "sysctl -qw net.ipv6.conf.default.accept_dad=0")
	for _, name := range []string{"eth0", "eth1"} {
		run(t, ns, "ip link add "+name+" type veth peer name to"+name)
		run(t, ns, "ip link set "+name+" up")
		run(t, ns, "ip link set to"+name+" up")
	}
	ctx, stop := context.WithCancel(t.Context())
	told, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		_ = conn.WatchUplink(ctx, func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
		close(done)
	}()
	defer func() { stop(); <-done }()
	await := func(ipv6 bool, want string) {
		t.Helper()
		for {
			got, err := conn.UplinkAddress(t.Context(), ipv6)
			if err != nil {
				t.Fatal(err)
			}
			if text := got.String(); text == want || want == "" && !got.IsValid() {
				return
			}
			<-told
		}
	}
	await(false, "")
	await(true, "")
	run(t, ns, "ip addr add 192.0.2.11/24 dev eth0")
	run(t, ns, "ip addr add 192.0.2.12/24 dev eth0")
	run(t, ns, "ip addr add 198.51.100.11/24 dev eth1")
	run(t, ns, "ip route add default via 192.0.2.1 metric 100")
	await(false, "192.0.2.11")
	run(t, ns, "ip route add default via 198.51.100.1 metric 50")
	await(false, "198.51.100.11")
	run(t, ns, "ip route add default via 192.0.2.1 src 192.0.2.12 metric 10")
	await(false, "192.0.2.12")
	run(t, ns, "ip -6 addr add fe80::11/64 dev eth0 nodad")
	run(t, ns, "ip -6 addr add 2001:db8::9/64 dev eth0 preferred_lft 0")
	run(t, ns, "ip -6 addr add 2001:db8::11/64 dev eth0 nodad")
	run(t, ns, "ip -6 route add default via fe80::1 dev eth0")
	await(true, "2001:db8::11")
	run(t, ns, "ip -6 addr del 2001:db8::11/64 dev eth0")
	run(t, ns, "ip -6 addr add 2001:db8::99/64 dev eth0 nodad")
	await(true, "2001:db8::99")
}
