// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"
	"os/exec"

	"eastwest/internal/table"
)

// A virtual address that another proxy of the node serves is that one's: nothing is refused before it translates, and its UDP
// connections stay when everything is compared. Other addresses are refused as ever, and so is this one once it is nobody's.
func anotherProxy(s *scene) {
	const own, address = "table ip another", "10.96.0.8"
	netDefault(s)
	others := table.Service{Object: table.Object{Kind: "Service", Namespace: "default", Name: "others"}, Elsewhere: []netip.Addr{netip.MustParseAddr(address)}}
	s.apply(row("nginx", "10.96.0.7", a), others)
	inNode(s, func() error {
		return exec.Command("nft", own+" { chain pre { type nat hook prerouting priority -90; ip daddr "+address+" dnat to 10.244.1.2; }; }").Run()
	})
	s.t.Cleanup(func() { inNode(s, func() error { return exec.Command("nft", "delete "+own).Run() }) })
	reaches := func(when, want string) {
		s.t.Helper()
		if have := ask(s.lab.client, "tcp", address+":80"); have != want {
			s.t.Errorf("%s %s:80: %s, want %s", when, address, have, want)
		}
	}
	reaches("served by another proxy,", "b 10.244.0.9")
	s.expect(s.lab.client, "tcp", "10.96.0.9:80", "refused")
	s.hold(s.lab.client, "udp", address+":80").hears("at first", "b 10.244.0.9")
	before := s.entries(address)
	s.restart()
	s.apply(row("nginx", "10.96.0.7", a), others)
	if after := s.entries(address); before != 1 || after != 1 {
		s.t.Errorf("another proxy's UDP connections: %d, then %d; want 1 and 1", before, after)
	}
	reaches("after a restart,", "b 10.244.0.9")
	inNode(s, func() error { return exec.Command("nft", "flush "+own).Run() })
	s.apply(row("nginx", "10.96.0.7", a))
	reaches("nobody's,", "refused")
}
