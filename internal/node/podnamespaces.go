// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net/netip"
	"sync/atomic"
	"time"

	"eastwest/internal/dns"
	"eastwest/internal/snapshot"
)

// How often the addresses of pods are looked up: for one that is not known, and for those that are.
const (
	lookForNew = time.Second
	lookAgain  = 10 * time.Second
)

// podNamespaces says in which namespace the pod is that has an address. DNS asks it for names that do not exist, which may
// be often, so it remembers. What it says is old by some seconds at most.
type podNamespaces struct {
	look   atomic.Pointer[func() map[netip.Addr]string]
	known  atomic.Pointer[map[netip.Addr]string]
	looked atomic.Int64 // in nanoseconds of Unix time
}

// of returns the namespace of a pod of this node, or nothing.
func (p *podNamespaces) of(a netip.Addr) string {
	namespace := ""
	if known := p.known.Load(); known != nil {
		namespace = (*known)[a]
	}
	pause := lookAgain
	if namespace == "" {
		pause = lookForNew
	}
	last, now := p.looked.Load(), time.Now().UnixNano()
	look := p.look.Load()
	if look != nil && now-last > int64(pause) && p.looked.CompareAndSwap(last, now) {
		go func() { // nobody who asks waits for the kubelet
			known := (*look)()
			p.known.Store(&known)
		}()
	}
	return namespace
}

// NamespacesOf says in which namespace the pod is that has an address, where no kubelet can: from the EndpointSlices. Pods
// that no Service selects stay unknown; so do addresses of nodes, which many pods have.
func (n *Network) NamespacesOf(zone *dns.Zone) func(netip.Addr) string {
	return func(a netip.Addr) string {
		if nodes := n.nodeAddrs.Load(); nodes == nil || (*nodes)[a] {
			return ""
		}
		return zone.NamespaceOf(a)
	}
}

// addressesOf returns all addresses of nodes.
func addressesOf(now snapshot.Snapshot) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, node := range now.Nodes.All() {
		for _, a := range append(node.Addrs[:len(node.Addrs):len(node.Addrs)], node.Others...) {
			out[a] = true
		}
	}
	return out
}
