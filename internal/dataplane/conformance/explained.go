// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"
	"slices"
	"testing"
)

// Explain says what becomes of a packet at the node whose network namespace is at path: forward, refuse or drop, and the
// endpoints that it may get to; no action where no Service has it. A packet of the node itself comes from no address.
type Explain func(t *testing.T, path string, from netip.Addr, to netip.AddrPort, network string) (action string, targets []netip.AddrPort)

// explained compares the explanation with the names that answered, or with "refused" or "silence".
func (s *scene) explained(from host, network, to string, names ...string) {
	s.t.Helper()
	at := netip.MustParseAddrPort(to)
	if s.explain == nil || at.Addr().IsLoopback() && from.name != s.lab.node.name {
		return // what neighbours send to a loopback is no question
	}
	action, targets := s.explain(s.t, s.lab.node.netns, from.in(at.Addr()), at, network)
	want := map[string]string{"refused": "refuse", "silence": "drop"}[names[0]]
	if want == "" {
		want = "forward"
	}
	none := action == "" && (want == "refuse" || names[0] == s.lab.node.name) // nobody listens there, or the node itself answers
	if action != want && !none {
		s.t.Errorf("%s asks %s %s: the explanation is %q %v, but the answer %v", from.name, network, to, action, targets, names)
		return
	}
	var have, answered []netip.Addr
	for _, target := range targets {
		have = append(have, target.Addr())
	}
	for _, pod := range []host{s.lab.a, s.lab.b, s.lab.c} {
		if slices.Contains(names, pod.name) {
			answered = append(answered, pod.in(at.Addr()))
		}
	}
	// One question alone says only that its answer was possible.
	if !slices.ContainsFunc(answered, func(addr netip.Addr) bool { return !slices.Contains(have, addr) }) && (len(answered) < 2 || len(have) == len(answered)) {
		return
	}
	s.t.Errorf("%s asks %s %s: the explanation has endpoints %v, but %v answered", from.name, network, to, targets, names)
}

// in returns the host's address in the family of another; none of the node.
func (h host) in(like netip.Addr) netip.Addr {
	for _, addr := range h.addrs {
		if addr.Is4() == like.Is4() {
			return addr
		}
	}
	return netip.Addr{}
}
