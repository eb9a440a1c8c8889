// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"testing"
	"time"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/route"
)

// What is taken away of what leads to pods is told of; what is added, and a pod that goes, is not.
func TestWatchLost(t *testing.T) {
	ns, pods := netnstest.New(t), netnstest.New(t)
	run(t, ns, "ip link add br0 type bridge")
	run(t, ns, "ip link set br0 up")
	pod := func(name string) {
		run(t, ns, "ip link add "+name+" type veth peer name "+name+" netns "+pods)
		run(t, pods, "ip link set "+name+" up")
		run(t, ns, "ip link set "+name+" up")
	}
	pod("pod0")
	pod("port0")
	pod("port1")
	told := watching(t, route.New(ns).WatchLost, func() {
		run(t, ns, "ip address add 192.0.2.9/32 dev pod0")
		run(t, ns, "ip address del 192.0.2.9/32 dev pod0")
	})
	quiet := func() bool {
		select {
		case <-told:
			return false
		case <-time.After(300 * time.Millisecond):
			return true
		}
	}
	for !quiet() {
	}
	run(t, ns, "ip address add 192.0.2.7/32 dev lo")
	if run(t, ns, "ip address del 192.0.2.7/32 dev lo"); !quiet() {
		t.Error("an address of a Service is told of")
	}
	for _, command := range []string{
		"ip address add 192.0.2.1/32 dev pod0", "ip route add 192.0.2.2 dev pod0", "ip -6 route add 2001:db8::2 dev pod0", "ip route add 198.51.100.0/24 dev pod0",
		"ip link set port0 master br0", "ip link set port1 master br0", "ip link set port0 up",
	} {
		if run(t, ns, command); !quiet() {
			t.Errorf("%s is told of", command)
		}
	}
	pod("short")
	run(t, ns, "ip route add 192.0.2.3 dev short")
	if run(t, ns, "ip link del short"); !quiet() {
		t.Error("a pod that goes is told of")
	}
	for _, command := range []string{
		"ip route del 192.0.2.2 dev pod0", "ip -6 route del 2001:db8::2 dev pod0", "ip address del 192.0.2.1/32 dev pod0", "ip link set port0 nomaster",
		"ip link set port0 down", "ip link del br0",
	} {
		run(t, ns, command)
		select {
		case <-told:
		case <-time.After(10 * time.Second):
			t.Errorf("%s is not told of", command)
		}
		for !quiet() {
		}
	}
}
