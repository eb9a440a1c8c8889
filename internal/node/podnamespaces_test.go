// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net/netip"
	"testing"
	"time"
)

// The namespace of a pod is known soon after it has its address, without anybody waiting for it.
func TestPodNamespacesAreLookedUp(t *testing.T) {
	a := netip.MustParseAddr("10.244.0.2")
	var p podNamespaces
	if got := p.of(a); got != "" {
		t.Errorf("got %q with no kubelet", got)
	}
	look := func() map[netip.Addr]string { return map[netip.Addr]string{a: "default"} }
	p.look.Store(&look)
	for range 500 {
		if p.of(a) == "default" {
			if got := p.of(netip.MustParseAddr("10.244.0.3")); got != "" {
				t.Errorf("got %q for somebody else", got)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the namespace is never known")
}
