// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"context"
	"testing"
	"time"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/route"
)

// A link that comes up may have had routes; a pod's link has none, and there are many of them.
func TestWatchTellsOfLinksButOfThoseOfPods(t *testing.T) {
	ns, pods := netnstest.New(t), netnstest.New(t)
	for _, name := range []string{"eth0", "eth1", "pod0", "port0"} {
		run(t, ns, "ip link add "+name+" type veth peer name "+name+" netns "+pods)
		run(t, pods, "ip link set "+name+" up")
	}
	run(t, ns, "ip link add br0 type bridge")
	run(t, ns, "ip link set pod0 group 7")
	run(t, ns, "ip link set port0 master br0")
	watch := func(ctx context.Context, tell func()) error { return route.New(ns).Watch(ctx, 7, tell) }
	told := watching(t, watch, func() {
		run(t, ns, "ip link set eth0 down")
		run(t, ns, "ip link set eth0 up")
	})
	// The kernel holds back what a link's carrier does for up to a second (LW_INTERVAL of net/core/link_watch.c).
	quiet := func() bool {
		select {
		case <-told:
			return false
		case <-time.After(1500 * time.Millisecond):
			return true
		}
	}
	for !quiet() { // the rest of what eth0 did
	}
	run(t, ns, "ip link set pod0 up")
	run(t, ns, "ip link set port0 up")
	if !quiet() {
		t.Error("links of pods are told of")
	}
	run(t, ns, "ip link set eth1 up")
	if <-told; !quiet() {
		t.Error("one link is told of twice")
	}
}

// watching returns the channel of what a watch tells until the test ends. It is listening by then: provoke was told of.
func watching(t *testing.T, watch func(ctx context.Context, tell func()) error, provoke func()) (told chan struct{}) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	told, done := make(chan struct{}), make(chan struct{})
	go func() {
		_ = watch(ctx, func() {
			select {
			case told <- struct{}{}:
			case <-ctx.Done():
			}
		})
		close(done)
	}()
	t.Cleanup(func() { stop(); <-done })
	for {
		provoke()
		select {
		case <-told:
			return told
		case <-time.After(100 * time.Millisecond):
		}
	}
}
